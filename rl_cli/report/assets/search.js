// The pointer on a trial, in a plot or the table, highlights it everywhere.
(() => {
  const of = (element) => [...(element.closest("[class*='t']")?.classList ?? [])].find((c) => /^t\d+$/.test(c));
  let shown = null;
  document.addEventListener("pointerover", (event) => {
    const name = event.target instanceof Element ? of(event.target) : null;
    if (name === shown) return;
    document.querySelectorAll(".hot").forEach((e) => e.classList.remove("hot"));
    if (name) document.querySelectorAll("." + name).forEach((e) => e.classList.add("hot"));
    shown = name;
  });
})();
