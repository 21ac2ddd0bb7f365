/** A line chart that grows: uPlot in the page's colours, with a text for those who do not see it. */
import uPlot from "../vendor/uPlot.esm.js";
import { h } from "./dom.js";
import { number } from "./i18n.js";

const LEGEND = 32; // pixels that it takes below the drawing
const COLOURS = ["--accent", "--warn", "--good", "--bad"];
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** What a CSS colour function comes to now: a canvas knows no light-dark(). */
function resolved(name) {
  const probe = h("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

/**
 * @param {{title: string, x: string, lines: {key: string, label: string, dashed?: boolean}[], height?: number,
 *   log?: boolean, range?: [number, number], signal?: AbortSignal}} options
 * @returns {HTMLElement & {show(points: object[], at?: number): void}} `points` hold `x` and the lines' keys; a missing
 *   value is a gap. `at` marks one x.
 */
export function lineChart({ title, x, lines, height = 220, log = false, range, signal }) {
  const element = h("figure", { class: "chart", role: "img" });
  element.style.height = `${height}px`;
  const drawn = height - (lines.length > 1 ? LEGEND : 0);
  let plot = null;
  let points = [];

  function build() {
    plot?.destroy();
    const [ink, line] = [resolved("--soft"), resolved("--line")];
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: `12px ${colour("--font")}` };
    const options = {
      width: Math.max(element.clientWidth, 120),
      height: drawn,
      legend: { show: lines.length > 1 },
      cursor: { y: false },
      scales: { x: { time: false }, y: { distr: log ? 3 : 1, range: range ? () => range : undefined } },
      axes: [{ ...axis, label: x, labelFont: axis.font, labelSize: 18, size: 34 }, { ...axis, size: 60, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : number(tick, 3))) }],
      series: [{ label: x }, ...lines.map((each, i) => ({ label: each.label, stroke: resolved(COLOURS[i % 4]), width: 2, dash: each.dashed ? [5, 5] : undefined, spanGaps: true, points: { show: points.length < 30 }, value: legend(each.key) }))],
    };
    plot = new uPlot(options, columns(), element);
  }

  /** Under the pointer its value, else the newest. */
  const legend = (key) => (_plot, under, _series, at) => {
    const value = at === null || at === undefined ? points.findLast((point) => typeof point[key] === "number")?.[key] : under;
    return value === null || value === undefined ? "–" : number(value, 3);
  };

  const columns = () => [points.map((point) => point.x), ...lines.map(({ key }) => points.map((point) => point[key] ?? null))];

  element.show = (given) => {
    const many = points.length < 30 && given.length >= 30;
    points = [...given].sort((a, b) => a.x - b.x);
    if (!element.isConnected) return;
    if (!plot || many) build();
    else plot.setData(columns());
    const last = points.at(-1);
    const said = lines.filter(({ key }) => typeof last?.[key] === "number").map(({ key, label }) => `${label} ${number(last[key], 3)}`);
    element.setAttribute("aria-label", `${title}. ${said.join(", ")}`);
  };
  element.setAttribute("aria-label", title);

  const resize = new ResizeObserver(() => (plot ? plot.setSize({ width: Math.max(element.clientWidth, 120), height: drawn }) : points.length && build()));
  resize.observe(element);
  const recolour = () => plot && build();
  window.addEventListener("themechange", recolour, { signal });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour, { signal });
  signal?.addEventListener("abort", () => (resize.disconnect(), plot?.destroy()));
  return element;
}
