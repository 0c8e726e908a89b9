// Sphinx puts this behind its searchtools.js: how results are ordered, and what a snippet is cut from.

var Scorer = {
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 5, 1: 0, 2: -5 },
  objPrioDefault: 0,
  title: 30,
  partialTitle: 7,
  term: 5,
  partialTerm: 1,
  // The decision pages and a chapter's narrative first, a course's pages last.
  score: ([page, , , , score]) =>
    score + (/(which-schedule|start-here)$/.test(page) ? 6 : /^chapters.*\/index$/.test(page) ? 3 : /assignment|instructors|bibliography|status|performance/.test(page) ? -40 : 0),
};

// The text alone: no list of contents, no equation twice.
const wholeText = Search.htmlToText;
Search.htmlToText = (html, anchor) => {
  const page = new DOMParser().parseFromString(html, "text/html");
  page.querySelectorAll("#jb-print-docs-body, .bd-header-article, .bd-sidebar-secondary, .bd-footer-article, .prev-next-footer, .katex-mathml, .run-line, h1").forEach((part) => part.remove());
  // Where an index entry stands there may be no text: its section has it.
  const at = anchor && page.getElementById(anchor.slice(1));
  return wholeText(page.documentElement.outerHTML, at && !at.textContent ? `#${at.closest("[id]:not(:empty)")?.id}` : anchor);
};

// What errors and warnings say is in MESSAGES (pages.py). A message is known by its groups of three
// words in a row, numbers apart. A group that several messages have says less.
const wordsOf = (text) => text.toLowerCase().replace(/\x1b?\[[\d;]*m/g, " ").match(/[\p{L}_]+/gu) ?? [];
const groupsOf = (words, size) => words.slice(size - 1).map((_, i) => words.slice(i, i + size).join(" "));
const known = MESSAGES.flatMap(([page, anchor, texts]) => texts.map((text) => {
  const words = wordsOf(text);
  if (words.length === 1) words.push("$"); // one word is a message only at the end
  return { page, anchor, title: texts[0], groups: groupsOf(words, Math.min(3, words.length)) };
}));
const times = new Map();
known.forEach(({ groups }) => groups.forEach((group) => times.set(group, (times.get(group) ?? 0) + 1)));
const weigh = (groups) => groups.reduce((sum, group) => sum + 1 / (times.get(group) ?? 1), 0);

// The messages of which the query has enough, or which have most of the query; the surest first, without
// those that only resemble one before them.
const messagesIn = (query) => {
  const words = wordsOf(query), asked = groupsOf(words, 3), explained = new Set();
  const all = new Set([...asked, ...groupsOf([...words, "$"], 2)]);
  return known
    .map((message) => ({ ...message, shared: message.groups.filter((group) => all.has(group)) }))
    .filter(({ groups, shared }) =>
      (shared.length >= Math.min(2, groups.length) && weigh(shared) >= 0.45 * weigh(groups)) ||
      (shared.length > 2 && weigh(shared) >= 0.8 * weigh(asked)))
    .sort((a, b) => weigh(b.shared) - weigh(a.shared))
    .filter(({ shared }) => {
      const fresh = shared.filter((group) => !explained.has(group));
      shared.forEach((group) => explained.add(group));
      return fresh.length > shared.length / 2;
    });
};

// What a question asks for is mostly a heading or an index entry that has the most of its words. A rare
// word counts for more; a word that only the page's title or text has, for less. A hyphen changes nothing.
const SMALL = new Set("i my me mine we you your do does did doing doesn don am been has have had how what which why when where who can could should would must may too so very just really there here get got want wanted need use using s m ve".split(" "));
const stemsOf = (text) => {
  const stemmer = new Stemmer(), lower = text.toLowerCase(), joined = lower.replace(/(\p{L})-(?=\p{L})/gu, "$1");
  const words = splitQuery(`${lower} ${joined}`).filter((word) => !SMALL.has(word) && !stopwords.includes(word) && !/^\d+$/.test(word));
  return new Set(words.map((word) => stemmer.stemWord(word)));
};
let parts;
const partsOf = ({ titles, alltitles, indexentries }) => {
  if (parts) return parts;
  const places = (texts) => Object.entries(texts).flatMap(([text, found]) => found.map(([page, id]) => [text, page, id]));
  const headings = new Map(places(alltitles).map(([title, page, id]) => [`${page}#${id}`, id && title]));
  return parts = [...titles.map((title, page) => [title, page]), ...places(alltitles), ...places(indexentries)].map(([text, page, id]) =>
    ({ text: text.toLowerCase(), stems: stemsOf(text), page, anchor: id ? `#${id}` : "", title: headings.get(`${page}#${id}`) }));
};

// Of each page the best part, and of these the best five.
const partsWithMost = (query) => {
  const { terms, titleterms, docnames } = Search._index, all = partsOf(Search._index), best = new Map();
  const pagesWith = (word, index) => (Object.hasOwn(index, word) ? [index[word]].flat() : []);
  const words = [...stemsOf(query)].map((word) => {
    const titled = new Set(pagesWith(word, titleterms));
    const pages = new Set([...titled, ...pagesWith(word, terms), ...all.filter(({ stems }) => stems.has(word)).map(({ page }) => page)]);
    return { word, titled, pages, rare: pages.size && Math.log(1 + docnames.length / pages.size) };
  });
  const typed = query.toLowerCase().trim(), total = words.reduce((sum, { rare }) => sum + rare, 0);
  all.forEach(({ text, stems, page, anchor, title }) => {
    const held = words.reduce((sum, { word, titled, pages, rare }) =>
      sum + rare * (stems.has(word) ? 1 : titled.has(page) ? 0.6 : pages.has(page) ? 0.25 : 0), 0) / total;
    const own = words.filter(({ word }) => stems.has(word)).length / Math.max(1, stems.size);
    const exact = text.includes(typed) ? typed.length / text.length : 0;
    const score = held * (0.75 + 0.25 * own) + 0.5 * exact + 0.02 * Scorer.score([docnames[page], "", "", "", 0]);
    if (score > (best.get(page)?.[4] ?? 0)) best.set(page, result(docnames[page], anchor, title, score));
  });
  return [...best.values()].sort((a, b) => b[4] - a[4]).slice(0, 5);
};

const result = (page, anchor, part, score) => {
  const at = Search._index.docnames.indexOf(page), text = document.createElement("i");
  text.textContent = part ? ` > ${part}` : "";
  return [page, Search._index.titles[at] + text.innerHTML, anchor, null, score, Search._index.filenames[at]];
};
const pagesWithAll = Search._performSearch;
Search._performSearch = (query, words, without, highlighted, names) => {
  const all = pagesWithAll(query, words, without, highlighted, names);
  const messages = messagesIn(query).map(({ page, anchor, title }) => result(page, `#${anchor}`, title, 1000));
  const first = new Map((messages.length ? messages : partsWithMost(query)).map((one) => [one[0] + one[2], one]));
  // Every word of a log, or every "i", marked on the page, would hide what matters.
  (messages.length ? [...highlighted] : SMALL).forEach((word) => highlighted.delete(word));
  localStorage.setItem("sphinx_highlight_terms", [...highlighted].join(" "));
  if (!messages.length && first.size && !all.length) Documentation.TRANSLATIONS["Search finished, found ${resultCount} page(s) matching the search query."] =
    "No page has all of these words. These pages have the most of the rare ones. If you pasted an error, try its last line alone.";
  return [...all.filter(([page, , anchor]) => !first.has(page + anchor)), ...[...first.values()].reverse()];
};
