/** The cost over the epochs, with those at which the slide prints it, and the slide's own values beside. */
import { fill, h, svg } from "../lib/dom.js";
import { t } from "../lib/i18n.js";
import { drawing, line, path, text } from "./lecture-draw.js";

const SLIDE = { 100: 0.391738, 200: 0.062609, 300: 0.022932, 400: 0.013043, 500: 0.008647 };
const LEAST_TOP = 2; // of the axis, that it stays when the first values come in

export function costs({ run, epochs, signal }) {
  let head = 0;
  let slides = true;
  const chart = drawing({ name: "lec-cost", draw, signal });
  const now = Object.fromEntries(Object.keys(SLIDE).map((epoch) => [epoch, h("td", {}, "–")]));
  const theirs = Object.fromEntries(Object.entries(SLIDE).map(([epoch, cost]) => [epoch, h("td", {}, cost.toFixed(6))]));
  const table = h(
    "table",
    { class: "costs" },
    h("caption", { class: "visually-hidden" }, t("lecture.lstm.cost")),
    h("thead", {}, h("tr", {}, ["epoch", "here", "slide"].map((name) => h("th", { scope: "col" }, t(`lecture.cost.${name}`))))),
    h("tbody", {}, Object.keys(SLIDE).map((epoch) => h("tr", {}, h("th", { scope: "row" }, epoch), now[epoch], theirs[epoch]))),
  );

  function draw(width, height, rem) {
    const shown = run.frames.slice(0, Math.round(head) + 1);
    const highest = Math.max(LEAST_TOP, ...run.frames.map(({ loss }) => loss));
    const [left, right, top, floor] = [2.2 * rem, width - rem, 0.6 * rem, height - 1.9 * rem];
    const across = (epoch) => left + (epoch / epochs) * (right - left);
    const down = (cost) => floor - (cost / highest) * (floor - top);
    const made = [line(left, floor, right, floor, "axis")];
    for (let cost = 0; cost <= highest; cost++) made.push(text(left - 0.5 * rem, down(cost) + 0.3 * rem, String(cost), { class: "tick end" }), line(left, down(cost), right, down(cost), "half"));
    for (const [epoch, cost] of Object.entries(SLIDE)) {
      made.push(line(across(epoch), top, across(epoch), floor, "lec-mark"), text(across(epoch), floor + 1.4 * rem, epoch, { class: "tick" }));
      if (slides) made.push(svg("circle", { cx: across(epoch), cy: down(cost), r: 0.35 * rem, class: "theirs" }));
    }
    if (!shown.length) return made;
    const [xs, ys] = [shown.map(({ epoch }) => across(epoch)), shown.map(({ loss }) => down(loss))];
    return [...made, svg("path", { class: "curve", d: path(xs, ys) }), svg("circle", { cx: xs.at(-1), cy: ys.at(-1), r: 0.3 * rem, class: "lec-here" })];
  }

  function show(to, isSlides) {
    [head, slides] = [to, isSlides];
    const shown = run.frames.slice(0, Math.round(head) + 1);
    for (const [epoch, cell] of Object.entries(now)) cell.textContent = shown.find((frame) => frame.epoch === Number(epoch))?.loss.toFixed(6) ?? "–";
    for (const [epoch, cell] of Object.entries(theirs)) cell.textContent = slides ? SLIDE[epoch].toFixed(6) : "–";
    chart.redraw();
  }
  const legend = h("ul", { class: "lec-legend" }, h("li", { class: "is-here" }, t("lecture.cost.here")), h("li", { class: "is-theirs" }, t("lecture.cost.slide")));
  return { element: fill(h("div", { class: "stack" }), legend, chart, table), show };
}
