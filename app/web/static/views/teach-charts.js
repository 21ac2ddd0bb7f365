/** The live charts of a training, each with what it shows in plain words. */
import { h } from "../lib/dom.js";
import { t } from "../lib/i18n.js";
import { lineChart } from "../lib/chart.js";
import { CHARTS } from "./teach-words.js";

const EVERY = 250; // milliseconds between two drawings
const MOST = 600; // points of a line that comes live; then every second one goes
const seen = new Map(); // job -> its live points: the service keeps those of the evaluations alone

/** @returns an element with `add(metrics event)` for evaluations and `live(status event)` for what comes between. */
export function jobCharts(id, modality, signal) {
  const measured = new Map(); // step -> the metrics of its evaluation
  if (!seen.has(id)) seen.set(id, new Map());
  const live = seen.get(id);

  const charts = CHARTS[modality].map(({ name, lines, log, range }) => {
    const given = lines.map((key) => ({ key, label: t(`chart.${key}`) }));
    const chart = lineChart({
      title: t(`chart.${name}.title`),
      x: t("chart.updates"),
      lines: given,
      height: 200,
      log,
      range,
      signal,
    });
    const draw = () => {
      const source = lines.some((key) => key.startsWith("loss_") || key === "train_loss")
        ? new Map([...live, ...merged(measured, live)])
        : measured;
      const points = [...source]
        .map(([x, point]) => ({ x, ...point }))
        .filter((point) => lines.some((key) => typeof point[key] === "number"));
      if (!points.length) return;
      wait.remove();
      chart.show(points);
    };
    const wait = h("p", { class: "chart-wait muted" }, t("chart.wait"));
    const card = h(
      "section",
      { class: "card chart-card" },
      h("h3", {}, t(`chart.${name}.title`)),
      h("p", { class: "hint" }, t(`chart.${name}.hint`)),
      chart,
      wait,
    );
    return { card, draw };
  });

  let waiting = 0;
  const later = () => (waiting ||= setTimeout(() => ((waiting = 0), charts.forEach(({ draw }) => draw())), EVERY));
  signal.addEventListener("abort", () => clearTimeout(waiting));

  const element = h(
    "div",
    { class: "charts" },
    charts.map(({ card }) => card),
  );
  element.add = (data) => (measured.set(data.step, data), later());
  element.live = ({ step, metrics }) => {
    if (measured.has(step)) return; // its losses are those of the evaluation, which was told already
    live.set(step, { train_loss: metrics.loss, loss_d: metrics.loss_d, loss_g: metrics.loss_g });
    if (live.size > MOST) [...live.keys()].filter((_, at) => at % 2).forEach((each) => live.delete(each));
    later();
  };
  later();
  return element;
}

/** Evaluations with the live losses of the same step. */
const merged = (measured, live) => [...measured].map(([step, point]) => [step, { ...live.get(step), ...point }]);
