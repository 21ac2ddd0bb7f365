/** Which figures say how good a version is, what they are called, and which of two is the better one. */
import { h } from "../lib/dom.js";
import { figure, has, percent, t } from "../lib/i18n.js";

/** First those that matter, then the others. */
const SHOWN = {
  text: [
    ["perplexity", "top1", "top3", "keystroke_savings"],
    ["word_perplexity", "top5", "loss"],
  ],
  image: [
    ["frechet_distance", "precision", "recall", "near_copies"],
    ["coverage", "density", "spread", "least_share", "d_real", "d_fake"],
  ],
  number: [["ks_distance"], ["d_real", "d_fake"]],
};
const LOWER = new Set(["perplexity", "word_perplexity", "loss", "frechet_distance", "near_copies", "ks_distance"]);
const HIGHER = new Set([
  "top1",
  "top3",
  "top5",
  "keystroke_savings",
  "precision",
  "recall",
  "coverage",
  "density",
  "least_share",
]);
const SHARES = new Set(["top1", "top3", "top5", "keystroke_savings", "precision", "recall", "coverage", "near_copies"]);

export const metricName = (metric) => (has(`models.metric.${metric}`) ? t(`models.metric.${metric}`) : metric);

/** The metrics that one of `versions` has: the main ones, or all. */
export function metricsOf(modality, versions, all = false) {
  const [main, more] = SHOWN[modality];
  return (all ? [...main, ...more] : main).filter((metric) =>
    versions.some((version) => typeof version.metrics[metric] === "number"),
  );
}

export function shown(metric, value) {
  if (typeof value !== "number") return "–";
  return SHARES.has(metric) ? percent(value, 1) : figure(value);
}

/** What real data scores against other real data: no model can be expected to do better. */
export const floor = (version, metric) =>
  version.metrics[metric === "frechet_distance" ? "frechet_floor" : `${metric}_floor`];

/** Two figures are of the same held-out data, and so may be laid side by side. */
export const comparable = (a, b) => JSON.stringify(a.score) === JSON.stringify(b.score);

/** Of the versions comparable with `reference`, those with the best value as it is shown; none when all show the same. */
export function best(versions, metric, reference) {
  const same = versions.filter((each) => comparable(each, reference) && typeof each.metrics[metric] === "number");
  const sign = LOWER.has(metric) ? -1 : HIGHER.has(metric) ? 1 : 0;
  const top = same.reduce((a, b) => (a && sign * a.metrics[metric] >= sign * b.metrics[metric] ? a : b), null);
  if (!top || !sign) return [];
  const winners = same.filter((each) => shown(metric, each.metrics[metric]) === shown(metric, top.metrics[metric]));
  return winners.length === same.length ? [] : winners;
}

/** The name of a metric with plain words below it. */
export function explained(metric) {
  return [metricName(metric), h("span", { class: "hint" }, t(`models.metric.${metric}.hint`))];
}
