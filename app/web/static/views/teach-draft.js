/** What is being prepared in "teach". It outlives the view, so that nothing typed is lost by a look elsewhere. */

const EMPTY = {
  dataset: null,
  name: "",
  named: false,
  minutes: "5",
  own: "30",
  timed: false,
  preset: "",
  config: {},
  seed: "",
  base: "",
  activate: "if_better",
};

export const draft = { ...EMPTY, licence: "", attribution: "" };

/** Begin anew, but keep what is said of uploads: the next is often of the same author. */
export const clear = () => Object.assign(draft, EMPTY, { config: {} });

/** Prepare what `job` did, to change and start it again. */
export function likeJob(job, dataset) {
  const { minutes } = job.budget;
  const usual = ["1", "5", "15", "60"].includes(String(minutes));
  Object.assign(draft, EMPTY, {
    dataset,
    name: job.model,
    named: true,
    preset: job.preset,
    base: job.base ?? "",
    activate: job.activate,
    config: {},
  });
  if (minutes) Object.assign(draft, { timed: true, minutes: usual ? String(minutes) : "own", own: String(minutes) });
}

/** The family (of GET /families) that learns from such data; each of its kinds of data has an entry of its own. */
export const familyFor = (families, modality) =>
  families.flatMap((family) => [family, ...family.variants]).find((family) => family.modality === modality);

/** Choose a data set. What was typed stays; what was only suggested is suggested anew. */
export function choose(dataset) {
  if (draft.dataset?.modality !== dataset?.modality) Object.assign(draft, { config: {}, base: "", preset: "" });
  draft.dataset = dataset;
  // Six sentences and single numbers are learned in seconds, by recipes of their own.
  const quick = dataset?.id === "lecture" || dataset?.modality === "number";
  if (!draft.timed) draft.minutes = quick ? "recipe" : "5";
  if (dataset?.id === "lecture") draft.preset ||= "lecture";
  else if (draft.preset === "lecture") draft.preset = "";
  if (!draft.named) draft.name = dataset ? suggested(dataset) : "";
}

/** The name the service would give it. */
function suggested({ id, name }) {
  const plain = name
    .normalize("NFKD")
    .replace(/[^\x00-\x7f]/g, "")
    .toLowerCase();
  const made = plain
    .replace(/[^a-z0-9._-]+/g, "-")
    .slice(0, 64)
    .replace(/^[._-]+|[._-]+$/g, "");
  return /[a-z]/.test(made) && made !== "none" ? made : id;
}
