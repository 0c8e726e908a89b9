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
  return wholeText(page.documentElement.outerHTML, anchor);
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

// The pages with the most of the words. A rare word counts for more, also than the kind of page above.
const pagesWithMost = (words) => {
  const { terms, titleterms, docnames } = Search._index, scores = new Map();
  words.forEach((word) => {
    const pages = new Set([terms[word] ?? [], titleterms[word] ?? []].flat());
    pages.forEach((page) => scores.set(page, (scores.get(page) ?? 0) + 10 * Math.log(docnames.length / pages.size)));
  });
  const results = [...scores].map(([page, score]) => result(docnames[page], "", "", score));
  results.forEach((one) => (one[4] = Scorer.score(one)));
  return results.sort((a, b) => a[4] - b[4]).slice(-5);
};

const result = (page, anchor, part, score) => {
  const at = Search._index.docnames.indexOf(page), text = document.createElement("i");
  text.textContent = part && ` > ${part}`;
  return [page, Search._index.titles[at] + text.innerHTML, anchor, null, score, Search._index.filenames[at]];
};
const pagesWithAll = Search._performSearch;
Search._performSearch = (query, words, without, highlighted, names) => {
  const all = pagesWithAll(query, words, without, highlighted, names);
  const first = new Map(messagesIn(query).map(({ page, anchor, title }) => [`${page}#${anchor}`, result(page, `#${anchor}`, title, 1000)]));
  if (first.size) {
    // Every word of a log, marked on the page, would hide what matters.
    highlighted.clear();
    localStorage.removeItem("sphinx_highlight_terms");
  }
  if (first.size || all.length) return [...all.filter(([page, , anchor]) => !first.has(page + anchor)), ...[...first.values()].reverse()];
  const most = pagesWithMost(words);
  if (most.length) Documentation.TRANSLATIONS["Search finished, found ${resultCount} page(s) matching the search query."] =
    "No page has all of these words. These pages have the most of the rare ones. If you pasted an error, try its last line alone.";
  return most;
};
