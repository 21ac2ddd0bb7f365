/** All trainings, newest first: how each stands, looked at again and again while the view is open. */
import { fill, h, set } from "../lib/dom.js";
import { ago, percent, t } from "../lib/i18n.js";
import { problem } from "../lib/parts.js";
import { state } from "../lib/state.js";
import { ENDED, advice, standing, statusTag } from "./teach-words.js";

const PAGE = 8;
const [SOON, LATER] = [1500, 6000]; // milliseconds between two looks: while something is going on, and else

export function jobList({ signal }) {
  const rows = new Map();
  const list = h("ol", { class: "jobs" });
  const said = h("div");
  const none = h("p", { class: "muted", hidden: true }, t("jobs.none"));
  const more = h(
    "button",
    { type: "button", class: "small", hidden: true, onclick: () => ((limit += 2 * PAGE), look()) },
    t("jobs.more"),
  );
  let limit = PAGE;
  let timer;

  async function look() {
    clearTimeout(timer);
    let wait = LATER;
    try {
      const { jobs, next } = await state.client.jobs({ limit });
      if (signal.aborted) return;
      fill(said);
      show(jobs);
      more.hidden = !next || limit >= 200;
      none.hidden = jobs.length > 0;
      if (jobs.some(({ status }) => !ENDED.includes(status))) wait = SOON;
    } catch (error) {
      if (signal.aborted) return;
      if (!rows.size) fill(said, problem(error));
    }
    timer = setTimeout(look, wait);
  }

  /** Rows stay where they are, so that neither focus nor eye is lost. */
  function show(jobs) {
    jobs.forEach((job, at) => {
      if (!rows.has(job.id)) rows.set(job.id, jobRow(job));
      const row = rows.get(job.id);
      row.update(job);
      if (list.children[at] !== row.element) list.insertBefore(row.element, list.children[at] ?? null);
    });
  }

  signal.addEventListener("abort", () => clearTimeout(timer));
  look();
  return h(
    "section",
    { class: "teach-jobs", "aria-labelledby": "jobs-title" },
    h("h2", { id: "jobs-title" }, t("jobs.title")),
    said,
    none,
    list,
    h("p", {}, more),
  );
}

function jobRow(job) {
  const tag = h("span");
  const words = h("p", { class: "hint" });
  const bar = h("span");
  const track = h("div", { class: "progress", "aria-hidden": "true" }, bar);
  const link = h("a", { href: `#/teach/${job.id}` }, job.model);
  const element = h("li", { class: "job" }, h("div", { class: "row spread" }, link, tag), track, words);
  let shown = "";
  const update = (now) => {
    const said = JSON.stringify([now.status, now.progress, now.eta_seconds, now.queue_position]);
    if (said === shown) return;
    shown = said;
    fill(tag, statusTag(now.status));
    track.hidden = ENDED.includes(now.status);
    bar.style.width = `${100 * now.progress}%`;
    const share = now.status === "running" ? `${percent(now.progress)}. ` : "";
    const kind = now.kind === "evaluation" ? `${t("jobs.evaluation")} ` : "";
    fill(
      words,
      kind,
      share,
      standing(now),
      now.status === "failed" ? ` ${advice(now.error?.code)}` : "",
      ENDED.includes(now.status) ? ` ${ago(now.finished_at)}` : "",
    );
    set(element, { "data-status": now.status });
  };
  return { element, update };
}
