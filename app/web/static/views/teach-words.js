/** What the parts of "teach" call things: statuses, figures, reasons of a failure. Plain words beside each term. */
import { h } from "../lib/dom.js";
import { duration, has, number, percent, t } from "../lib/i18n.js";

export const ENDED = ["succeeded", "failed", "cancelled"];
const TONE = { succeeded: "good", failed: "bad", paused: "warn", cancelled: "", queued: "" };

export const statusTag = (status) => h("span", { class: `tag ${TONE[status] ?? "live"}` }, t(`job.status.${status}`));

/** One sentence on how a job stands. */
export function standing(job) {
  if (job.status === "queued")
    return job.queue_position > 1 ? t("job.queued.behind", { n: job.queue_position - 1 }) : t("job.queued.next");
  if (job.status === "running" && job.progress === 1) return t("job.finishing");
  if (job.status === "running")
    return job.eta_seconds === null ? t("job.running") : t("job.running.eta", { time: duration(job.eta_seconds) });
  if (job.status === "succeeded" && job.kind === "evaluation") return t("job.evaluated");
  if (job.status === "succeeded")
    return job.result?.active ? t("job.succeeded.active", job.result) : t("job.succeeded.idle", job.result ?? {});
  if (job.status === "failed") return job.error?.message ?? t("job.failed");
  return t(`job.${job.status}`);
}

/** What to do about a failure, by its code. */
export const advice = (code) => t(has(`job.advice.${code}`) ? `job.advice.${code}` : "job.advice.other");

/** Figures of a kind of model, the most telling first; how each is written. */
const FIGURES = {
  text: [
    ["perplexity", number],
    ["top1", percent],
    ["top3", percent],
    ["keystroke_savings", percent],
  ],
  image: [
    ["d_real", number],
    ["d_fake", number],
    ["frechet_distance", number],
    ["near_copies", percent],
  ],
  number: [
    ["d_real", number],
    ["d_fake", number],
    ["ks_distance", number],
  ],
};

/** The figure by which a state is the best so far; lower is better for each. */
const SCORE = { text: "perplexity", image: "frechet_distance", number: "ks_distance" };

/** The best of the `measured` metrics, where the newest are not; that state is the one that is kept. */
export function bestBefore(modality, measured) {
  const values = measured.map((metrics) => metrics[SCORE[modality]]).filter((value) => typeof value === "number");
  // Nothing is chosen by the text that is learned from. `train_loss` is told where another part was measured.
  if (modality === "text" && !("train_loss" in (measured.at(-1) ?? {}))) return "";
  const best = Math.min(...values);
  return best < values.at(-1) ? t(`job.best.${modality}`, { value: number(best, 3) }) : "";
}

/** The newest figures, each with what it means. */
export function figures(modality, metrics) {
  const rows = FIGURES[modality].filter(([name]) => typeof metrics[name] === "number");
  return rows.map(([name, write]) =>
    h(
      "div",
      { class: "figure-row" },
      h("dt", {}, t(`figure.${name}`)),
      h("dd", { class: "figure-value" }, write(metrics[name], write === number ? 3 : 0)),
      h("dd", { class: "hint" }, t(`figure.${name}.hint`)),
    ),
  );
}

/**
 * The charts of a kind of model: `live` lines come with every status, the others with every evaluation. A line is a
 * metric's name; its label is `chart.<metric>`.
 */
export const CHARTS = {
  text: [
    { name: "loss", lines: ["train_loss", "loss"] },
    { name: "perplexity", lines: ["perplexity"], log: true },
    { name: "hits", lines: ["top1", "top3"], range: [0, 1] },
  ],
  image: [
    { name: "duel", lines: ["d_real", "d_fake"], range: [0, 1] },
    { name: "frechet", lines: ["frechet_distance"], log: true },
    { name: "losses", lines: ["loss_d", "loss_g"] },
  ],
  number: [
    { name: "duel", lines: ["d_real", "d_fake"], range: [0, 1] },
    { name: "ks", lines: ["ks_distance"] },
    { name: "losses", lines: ["loss_d", "loss_g"] },
  ],
};

/** Where to try a model of this kind. */
export const tryAddress = (modality, name) =>
  `#/try/${modality === "text" ? "words" : "pictures"}/${encodeURIComponent(name)}`;
