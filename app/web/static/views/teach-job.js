/** One training, live: how it stands, its charts, what it makes, what it said; pause, go on, stop. */
import { fill, h, set } from "../lib/dom.js";
import { ago, percent, t } from "../lib/i18n.js";
import { confirm, doing, problem } from "../lib/parts.js";
import { sampleSlider } from "../lib/samples.js";
import { state } from "../lib/state.js";
import { jobCharts } from "./teach-charts.js";
import { titleOf } from "./teach-data.js";
import { likeJob } from "./teach-draft.js";
import { jobFacts, outcome } from "./teach-outcome.js";
import { ENDED, bestBefore, figures, standing, statusTag } from "./teach-words.js";

const LOOK = 2000; // milliseconds between two looks where no event comes: waiting in the queue, or the line is dead

export async function showJob(root, { parameters: [id], signal, navigate }) {
  let job = await state.client.job(id);
  const dataset = await state.client.dataset(job.dataset).catch(() => null); // it may be deleted by now
  const modality =
    dataset?.modality ??
    (await state.client.model(job.model).catch(() => null))?.modality ??
    (job.family === "gan" ? "image" : "text");
  if (signal.aborted) return;
  const measured = job.kind === "evaluation";

  const title = h("h1", { tabindex: -1 }, measured ? t("job.title.evaluation", job) : job.model);
  const tag = h("span", { role: "status" });
  const words = h("p", { class: "lead standing" });
  const bar = h("span");
  const track = h(
    "div",
    {
      class: "progress big",
      role: "progressbar",
      "aria-label": t("job.progress"),
      "aria-valuemin": 0,
      "aria-valuemax": 100,
    },
    bar,
  );
  const share = h("span", { class: "share" });
  const buttons = h("div", { class: "row job-buttons" });
  const line = h("p", { class: "job-lost hint", role: "status" });
  const said = h("div");
  const end = h("div", { class: "outcome-place" });
  const slider = sampleSlider({ label: t(`job.samples.${modality}`), pixels: modality === "image", signal });
  const charts = measured ? null : jobCharts(job.id, modality, signal);
  const now = h("dl", { class: "figures" });
  const split = h("p", { class: "hint" });
  const log = h("ol", { class: "messages", "aria-live": "polite" });
  const messages = h("section", { class: "card", hidden: true }, h("h2", {}, t("job.messages")), log);
  const facts = h("div");
  const made = [h("div"), charts].filter(Boolean);

  const crumbs = h("nav", { "aria-label": t("job.crumbs") }, h("a", { href: "#/teach" }, t("job.back")));
  const asked = h("span");
  const from = h(
    "p",
    { class: "muted" },
    t("job.from", { dataset: dataset ? titleOf(dataset) : job.dataset }),
    " · ",
    asked,
  );
  h(
    root,
    {},
    h("header", { class: "stack job-head" }, crumbs, h("div", { class: "row" }, title, tag), from),
    h(
      "section",
      { class: "card job-now", "aria-label": t("job.now") },
      h("div", { class: "row spread job-line" }, words, buttons),
      h("div", { class: "job-track" }, track, share),
      line,
      said,
      end,
    ),
    measured
      ? h("section", { class: "card" }, now, split)
      : h(
          made[0],
          { class: "job-main" },
          h(
            "section",
            { class: "card" },
            h("h2", {}, t(`job.samples.${modality}`)),
            h("p", { class: "hint" }, t(`job.samples.${modality}.hint`)),
            slider,
          ),
          h("section", { class: "card" }, h("h2", {}, t("job.figures")), now, split),
        ),
    charts,
    messages,
    h("details", { class: "more" }, h("summary", {}, t("job.facts")), facts),
  );

  // -- what may be done now
  const act = (make) => async () => show(await make());
  const pause = doing(
    t("job.pause"),
    act(() => (["paused", "pausing"].includes(job.status) ? state.client.resume(id) : state.client.pause(id))),
    { into: said },
  );
  const stop = doing(
    t("job.stop"),
    async () => {
      if (!(await confirm(t("job.stop.title"), t("job.stop.text"), t("job.stop.yes")))) return;
      await act(() => state.client.cancel(id))();
      title.focus();
    },
    { into: said, class: "danger" },
  );
  const again = h(
    "button",
    { type: "button", onclick: () => (likeJob(job, dataset), navigate("teach")) },
    t("job.again"),
  );
  if (!measured) buttons.append(pause, stop, again);

  let told = "";
  const evaluations = [];
  function show(newer) {
    const was = job.status;
    fill(asked, t("job.asked", { when: ago(job.created_at) }));
    job = { ...job, ...newer };
    const ended = ENDED.includes(job.status);
    if (told !== job.status) fill(tag, statusTag(job.status));
    fill(words, job.status === "failed" ? t("job.failed") : standing(job));
    bar.style.width = `${100 * job.progress}%`;
    set(track, { "aria-valuenow": Math.round(100 * job.progress) });
    track.dataset.status = job.status;
    fill(share, percent(job.progress));
    const resting = ["paused", "pausing"].includes(job.status);
    fill(pause, t(resting ? "job.resume" : "job.pause"));
    pause.hidden = ended || job.status === "cancelling";
    stop.hidden = pause.hidden;
    again.hidden = !ended || !dataset;
    const rows = figures(modality, job.metrics);
    fill(now, rows.length ? rows : h("dt", { class: "muted" }, t(ended ? "job.figures.none" : "job.figures.wait")));
    fill(
      split,
      job.metrics.split
        ? t(job.metrics.split === "train" ? "job.split.train" : "job.split.test")
        : bestBefore(modality, evaluations),
    );
    if (told !== job.status || was !== job.status) fill(facts, jobFacts(job));
    if (ended && (told !== job.status || newer.result)) fill(end, outcome(job, modality));
    // A training that never came to a measurement has nothing to show of it.
    for (const part of made) part.hidden = ended && job.status !== "succeeded" && !rows.length && !slider.count;
    told = job.status;
  }
  show(job);

  // -- what happens
  const refresh = async () => {
    try {
      const newer = await state.client.job(id);
      if (signal.aborted) return;
      show(newer);
      fill(line);
    } catch (error) {
      if (!signal.aborted) fill(line, t("job.lost"));
    }
  };
  const timer = setInterval(() => (job.status === "queued" || line.textContent) && refresh(), LOOK);
  const clock = setInterval(() => fill(asked, t("job.asked", { when: ago(job.created_at) })), 15_000);
  signal.addEventListener("abort", () => (clearInterval(timer), clearInterval(clock)));

  const follow = async () => {
    for await (const { id: number, event, data } of state.client.events(id, {
      signal,
      onLost: () => fill(line, t("job.lost")),
    })) {
      if (event === "status" && number === undefined) {
        fill(line);
        show(data);
        charts?.live(data);
      } else if (event === "metrics") {
        evaluations.push(data);
        charts?.add(data);
      } else if (event === "sample") slider.add(data);
      else if (event === "message") {
        messages.hidden = false;
        log.append(h("li", { lang: "en" }, data.text));
      } else if (event === "status" && !ENDED.includes(data.status)) await refresh(); // the past is told, the present asked for
    }
    if (signal.aborted) return;
    clearInterval(timer);
    await refresh();
  };
  // Not waited for: the view is shown, and what comes after showing it (the focus, for one) must not wait for the end.
  follow().catch((error) => signal.aborted || fill(said, problem(error)));
}
