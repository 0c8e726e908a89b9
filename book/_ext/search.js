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
