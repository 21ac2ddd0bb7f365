/** Teach: what to learn from, how long, go; #/teach/<job> is one training. */
import { fill, h } from "../lib/dom.js";
import { t } from "../lib/i18n.js";
import { problem } from "../lib/parts.js";
import { state } from "../lib/state.js";
import { dataStep } from "./teach-data.js";
import { familyFor } from "./teach-draft.js";
import { showJob } from "./teach-job.js";
import { jobList } from "./teach-jobs.js";
import { planStep } from "./teach-plan.js";

export default async function show(root, given) {
  const page = given.parameters.length ? showJob : showStart;
  const again = () => (fill(root), show(root, given));
  try {
    await page(root, given);
  } catch (error) {
    if (!given.signal.aborted) fill(root, h("h1", {}, t("nav.teach")), problem(error, { retry: again }));
  }
}

async function showStart(root, { signal, navigate }) {
  const steps = h("div", { class: "teach-steps" });
  const head = h("div", { class: "stack" }, h("h1", {}, t("teach.title")), h("p", { class: "lead" }, t("teach.lead")));
  h(root, {}, head, h("div", { class: "teach-page" }, steps, jobList({ signal })));

  const [{ families }, { datasets, next }, { models }] = await Promise.all([
    state.client.families(),
    state.client.datasets({ limit: 100 }),
    state.client.models({ limit: 500 }),
  ]);
  if (signal.aborted) return;
  const plan = planStep({ families, models, signal, navigate });
  const data = dataStep({
    datasets,
    next,
    signal,
    onChoose: plan.refresh,
    learnable: ({ modality }) => familyFor(families, modality),
  });
  fill(steps, data, plan);
}
