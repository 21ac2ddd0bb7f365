/** The second lesson: two networks that compete over a density of single numbers. */
import { fill, h, set } from "../lib/dom.js";
import { integer, number, t } from "../lib/i18n.js";
import { problem } from "../lib/parts.js";
import { state } from "../lib/state.js";
import { formula } from "./lecture-formula.js";
import { between, panel } from "./lecture-panels.js";
import { runs } from "./lecture-run.js";
import { story } from "./lecture-story.js";

const SETS = ["gaussian", "two-peaks"];
const EVALUATIONS = 40;
const UPDATES = 3500;
const SEED = 5; // the same lesson in every classroom
const MOMENTS = [0, 2, 10]; // evaluations shown in the first three small panels: the beginning, 5 % and 25 %
const APART = 0.08; // from 1/2, and no more told apart
const CLOSE = 0.04; // KS distance at which the curves look alike
const run = runs.gan;

export default function lesson(root, { signal }) {
  let head = 0;
  const choices = SETS.map((name) => h("label", { class: "lec-choice" }, h("input", { type: "radio", name: "numbers", value: name, checked: name === (run.asked?.dataset ?? SETS[0]) }), t(`lecture.gan.set.${name}`)));
  const go = h("button", { type: "button", class: "primary", onclick: start }, t("lecture.gan.train"));
  const halt = h("button", { type: "button", onclick: stop }, t("lecture.gan.stop"));
  const says = h("p", { class: "run-says", role: "status" });
  const trouble = h("div", { "aria-live": "assertive" });
  const verdict = h("p", { class: "lec-verdict", role: "status" });
  const [real, fake] = [scale("D(x)", "lecture.gan.real"), scale("D(G(z))", "lecture.gan.fake")];
  const distance = h("dd", {}, "–");
  const large = panel({ label: t("lecture.gan.panel"), curves: () => between(run.frames, head), signal });
  const small = [...MOMENTS, null].map((moment, i) => {
    const curves = () => (moment === null ? between(run.frames, head) : head >= moment ? run.frames[moment]?.curves : null);
    const image = panel({ small: true, curves, signal });
    const caption = moment === null ? t("lecture.gan.now") : moment === 0 ? t("lecture.gan.start") : t("lecture.gan.updates", { n: integer((moment * UPDATES) / EVALUATIONS) });
    return { image, curves, element: h("figure", {}, image, h("figcaption", {}, `(${"abcd"[i]}) ${caption}`)) };
  });
  const caption = (frame) => t("lecture.gan.updates", { n: integer(frame.step) });
  const time = story({ label: t("lecture.gan.story"), run, total: EVALUATIONS, caption, show, signal });

  const stage = h(
    "div",
    { class: "lec-stage" },
    h("div", { class: "stack" }, h("ul", { class: "lec-legend" }, ["data", "made", "judge"].map((name) => h("li", { class: `is-${name}` }, t(`lecture.gan.legend.${name}`)))), large, time),
    h("div", { class: "stack readings" }, real.element, fake.element, h("dl", { class: "gap" }, h("dt", {}, t("lecture.gan.ks")), distance), verdict),
  );

  function start() {
    const dataset = root.querySelector("input[name=numbers]:checked").value;
    if (run.busy) return;
    run.start({ dataset }, () => state.client.train({ family: "gan", dataset, seed: SEED, config: { evaluations: EVALUATIONS } }));
    stage.scrollIntoView({ block: "nearest" });
  }

  async function stop() {
    await run.stop().catch((error) => fill(trouble, problem(error)));
  }

  function show(to) {
    head = to;
    large.redraw();
    for (const each of small) {
      const now = each.curves(); // the same object as long as a panel of the past stays as it is
      if (now !== each.drawn) each.image.redraw();
      each.drawn = now;
    }
    const frame = run.frames[Math.round(head)];
    real.show(frame?.d_real);
    fake.show(frame?.d_fake);
    distance.textContent = frame ? number(frame.ks_distance, 2) : "–";
    const said = words(frame);
    if (said !== verdict.textContent) verdict.textContent = said;
  }

  function changed() {
    if (run.asked) root.querySelector(`input[value="${run.asked.dataset}"]`).checked = true;
    set(go, { "aria-disabled": run.busy ? "true" : null });
    set(halt, { "aria-disabled": run.busy ? null : "true" });
    says.textContent = t(run.status ? `lecture.status.${run.status}` : "lecture.status.idle");
    fill(trouble, run.error ? problem(run.error, { retry: start }) : null);
  }

  run.addEventListener("change", changed, { signal });
  const p = (name, kind = "lec-said") => h("p", { class: kind }, t(name));
  h(
    root,
    {},
    h("section", { class: "card lec-step", "aria-labelledby": "goal" }, h("h2", { id: "goal" }, t("lecture.gan.goal.title")), p("lecture.gan.goal.text"), formula(), h("ul", { class: "terms" }, ["g", "d", "aim"].map((name) => h("li", {}, t(`lecture.gan.term.${name}`))))),
    h(
      "section",
      { class: "card lec-step", "aria-labelledby": "game" },
      h("h2", { id: "game" }, t("lecture.gan.game.title")),
      p("lecture.gan.game.text"),
      h("div", { class: "row game-bar" }, h("fieldset", { class: "row" }, h("legend", {}, t("lecture.gan.sets")), choices), go, halt, says),
      trouble,
      stage,
      h("div", { class: "lec-moments" }, small.map(({ element }) => element)),
      p("lecture.gan.map", "hint"),
    ),
  );
  changed();
  time.begin();
  run.resume();
}

/** What is happening, in words. */
function words(frame) {
  if (!frame) return t("lecture.gan.say.before");
  const [real, fake] = [frame.d_real, frame.d_fake];
  const shown = { real: real.toFixed(2), fake: fake.toFixed(2) };
  if (real - fake > APART) return t("lecture.gan.say.apart", shown);
  if (Math.max(Math.abs(real - 0.5), Math.abs(fake - 0.5)) > APART) return t("lecture.gan.say.unsure", shown);
  return t(frame.ks_distance > CLOSE ? "lecture.gan.say.near" : "lecture.gan.say.even", shown);
}

/** A probability between 0 and 1 with a mark at one half. */
function scale(name, label) {
  const point = h("span", { class: "scale-point" });
  const value = h("span", { class: "scale-value" }, "–");
  const show = (given) => {
    point.hidden = given === undefined;
    if (given === undefined) return void (value.textContent = "–");
    point.style.left = `${100 * given}%`;
    value.textContent = given.toFixed(2);
  };
  const ends = h("span", { class: "scale-ends", "aria-hidden": "true" }, ["0", "½", "1"].map((end) => h("span", {}, end)));
  return { element: h("div", { class: "lec-scale" }, h("p", {}, h("strong", {}, name), " ", h("span", { class: "muted" }, t(label))), value, h("span", { class: "scale-track", "aria-hidden": "true" }, point), ends), show };
}
