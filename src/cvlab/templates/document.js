"use strict";

// Tables: a click on the name of a column sorts by it, a second one the other way round.
function compare(a, b, direction) {
  const [x, y] = [a, b].map((cell) => (cell.dataset.value === undefined ? null : Number(cell.dataset.value)));
  if (x !== null && y !== null) return x === y ? 0 : direction * (x < y ? -1 : 1);
  // What has no number stands behind the numbers, whatever the direction.
  if (x !== null || y !== null) return x !== null ? -1 : 1;
  return direction * a.textContent.localeCompare(b.textContent, undefined, { numeric: true });
}

function sort(table, column, heading) {
  const direction = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
  const body = table.tBodies[0];
  const rows = [...body.rows].sort((a, b) => compare(a.cells[column], b.cells[column], direction));
  body.append(...rows);
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Sort by this column";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sort(table, column, heading));
    heading.append(button);
  });
}

// Pictures: a click opens one as large as the window, or at its own size where the window is smaller.
const dialog = document.querySelector("dialog");
const large = dialog.querySelector("img");

function open(picture, caption) {
  const [width, height] = ["width", "height"].map((side) => Number(picture.getAttribute(side)));
  const fitting = Math.min((window.innerWidth - 32) / width, (window.innerHeight - 84) / height);
  large.src = picture.src;
  large.alt = picture.alt;
  large.width = Math.round(width * Math.max(1, fitting));
  dialog.querySelector("p").replaceChildren(...[...caption.childNodes].map((node) => node.cloneNode(true)));
  dialog.showModal();
  reach();
}

for (const figure of document.querySelectorAll("figure")) {
  const picture = figure.querySelector("img");
  const button = document.createElement("button");
  button.type = "button";
  button.title = "Open large";
  picture.replaceWith(button);
  button.append(picture);
  button.addEventListener("click", () => open(picture, figure.querySelector("figcaption")));
}

dialog.querySelector("button").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});

// What does not fit into its window can be scrolled by the keyboard.
function reach() {
  for (const part of document.querySelectorAll(".window, pre")) {
    const fits = part.scrollWidth <= part.clientWidth && part.scrollHeight <= part.clientHeight;
    if (fits) part.removeAttribute("tabindex");
    else part.tabIndex = 0;
  }
}
window.addEventListener("resize", reach);
reach();

// Contents: open beside the text where there is room.
const wide = window.matchMedia("(min-width: 72rem)");
const contents = document.querySelector("nav details");
const unfold = () => {
  contents.open = wide.matches;
};
wide.addEventListener("change", unfold);
unfold();
