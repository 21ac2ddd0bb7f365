/** How a training ended, and what to do now; and all that was chosen for it. */
import { h } from "../lib/dom.js";
import { duration, integer, number, t } from "../lib/i18n.js";
import { facts } from "../lib/parts.js";
import { reason } from "./models-parts.js";
import { advice, tryAddress } from "./teach-words.js";

export function outcome(job, modality) {
  if (job.status === "failed") return failure(job);
  if (job.status === "cancelled") return h("p", { class: "muted" }, t("job.cancelled.text"));
  if (!job.result?.version) return null;
  const { name, version, active } = job.result;
  const card = h("a", { class: "button", href: `#/models/${encodeURIComponent(`${name}@${version}`)}` }, t("job.card"));
  const go =
    active && modality !== "number"
      ? h("a", { class: "button primary", href: tryAddress(modality, name) }, t("job.try"))
      : null;
  return h(
    "div",
    { class: "stack outcome" },
    h("p", {}, reason(job.result.reason)),
    h("p", { class: "row" }, go, card),
  );
}

function failure({ error }) {
  const { code, message, log } = error ?? {};
  return h(
    "div",
    { class: "problem", role: "alert" },
    h("p", { class: "problem-title", lang: "en" }, message),
    h("p", {}, advice(code)),
    log && log.trim() !== message
      ? h("details", {}, h("summary", {}, t("job.log")), h("pre", { tabindex: 0 }, log))
      : null,
  );
}

const from = ({ base }) => (base && base !== "none" ? base : t("teach.base.none"));

export function jobFacts(job) {
  const spent =
    job.started_at && job.finished_at ? duration((new Date(job.finished_at) - new Date(job.started_at)) / 1000) : null;
  const { minutes, epochs, steps } = job.budget;
  const limits = [
    minutes && duration(60 * minutes),
    epochs && t("teach.rounds", { n: epochs, rounds: integer(epochs) }),
    steps && t("teach.updates", { n: steps, updates: integer(steps) }),
  ].filter(Boolean);
  const rows = [
    [t("job.fact.preset"), job.preset],
    [t("job.fact.budget"), limits.join(", ") || t("job.fact.budget.recipe")],
    [t("job.fact.base"), from(job)],
    [t("job.fact.seed"), String(job.seed)],
    [t("job.fact.steps"), integer(job.step)],
    [t("job.fact.device"), job.device ?? "–"],
    [t("job.fact.attempt"), String(job.attempt)],
    [t("job.fact.spent"), spent ?? "–"],
  ];
  const config = Object.entries(job.config).map(([name, value]) => [
    name.replaceAll("_", " "),
    typeof value === "number" ? number(value, 6) : String(value ?? "–"),
  ]);
  return h(
    "div",
    { class: "stack" },
    facts(rows),
    config.length ? [h("h3", {}, t("job.fact.config")), facts(config)] : null,
  );
}
