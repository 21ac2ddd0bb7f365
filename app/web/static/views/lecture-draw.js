/** Drawings in the page's own pixels and colours: they grow with the type, and are drawn anew when their size changes. */
import { fill, h, svg } from "../lib/dom.js";

/**
 * @param {{name: string, label?: string, draw: (width: number, height: number, rem: number) => SVGElement[],
 *   signal: AbortSignal}} options `name`: the class, which sets the height. Without a label it is decoration: what it
 *   says stands beside it in words.
 * @returns {HTMLElement & {redraw(): void}}
 */
export function drawing({ name, label, draw, signal }) {
  const image = svg("svg", { "aria-hidden": "true", focusable: "false" });
  const element = h("div", { class: `lec-drawing ${name}`, role: label ? "img" : null, "aria-label": label ?? null }, image);
  element.redraw = () => {
    const [width, height] = [element.clientWidth, element.clientHeight];
    if (!width || !height) return;
    image.setAttribute("viewBox", `0 0 ${width} ${height}`);
    fill(image, draw(width, height, parseFloat(getComputedStyle(document.documentElement).fontSize)));
  };
  const watch = new ResizeObserver(element.redraw);
  watch.observe(element);
  signal.addEventListener("abort", () => watch.disconnect());
  return element;
}

/** A path through points given as two lists. */
export function path(xs, ys) {
  return xs.map((x, i) => `${i ? "L" : "M"}${x.toFixed(1)} ${ys[i].toFixed(1)}`).join("");
}

export const text = (x, y, said, more = {}) => svg("text", { x, y, ...more }, said);
export const line = (x1, y1, x2, y2, name) => svg("line", { x1, y1, x2, y2, class: name });
