// The pointer on a trial, in a plot or the table of its search, highlights it in all of them.
(() => {
  let shown = [];
  const named = (element) => [...(element.closest("[class*=' t']")?.classList ?? [])].find((c) => /^t\d+$/.test(c));
  document.addEventListener("pointerover", (event) => {
    const search = event.target instanceof Element ? event.target.closest("[data-search]") : null;
    const name = search && named(event.target);
    for (const element of shown) element.classList.remove("hot");
    shown = name ? [...document.querySelectorAll(`[data-search="${search.dataset.search}"] .${name}`)] : [];
    for (const element of shown) element.classList.add("hot");
  });
})();
