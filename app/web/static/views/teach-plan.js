/** The second and third step: a name, how long, what else there is to set, and go. */
import { fill, h } from "../lib/dom.js";
import { duration, integer, language, t } from "../lib/i18n.js";
import { doing, field, problem } from "../lib/parts.js";
import { schemaForm } from "../lib/form.js";
import { state } from "../lib/state.js";
import { clear, draft, familyFor } from "./teach-draft.js";

const MINUTES = ["1", "5", "15", "60"];
const [SHORT_TEXT, LONG_TEXT] = [5_000, 300_000]; // words: below, known by heart in a minute; above, worth an hour
const FEW_PICTURES = 1_000;

/** @returns an element with `refresh()`, to be called when `draft.dataset` is another one. */
export function planStep({ families, models, signal, navigate }) {
  const form = h("form", { class: "teach-plan", novalidate: true, onsubmit: (event) => event.preventDefault() });
  const said = h("div", { class: "start-said" });
  let settings = null;

  form.refresh = () => {
    const { dataset } = draft;
    const family = dataset && familyFor(families, dataset.modality);
    fill(
      form,
      step("name", name(dataset)),
      step("time", time(family)),
      more(family),
      h("section", { class: "teach-step" }, h("div", { class: "row" }, start(family)), said),
    );
  };
  const step = (id, ...content) =>
    h(
      "section",
      { class: "teach-step", "aria-labelledby": `step-${id}` },
      h("h2", { id: `step-${id}` }, t(`teach.${id}`)),
      content,
    );

  // -- the name
  function name(dataset) {
    const hint = h("span");
    const input = h("input", {
      type: "text",
      value: draft.name,
      maxlength: 64,
      autocomplete: "off",
      spellcheck: false,
      pattern: "[a-z0-9][a-z0-9._\\-]*",
      required: true,
      placeholder: t("teach.name.example"),
    });
    const tell = () => {
      const known = models.find((model) => model.name === draft.name);
      const other = known && dataset && known.modality !== dataset.modality;
      fill(hint, other ? t("teach.name.other", known) : known ? t("teach.name.known", known) : t("teach.name.hint"));
    };
    input.addEventListener(
      "input",
      () => ((draft.name = input.value.trim()), (draft.named = draft.name !== ""), input.setCustomValidity(""), tell()),
    );
    tell();
    return field(t("teach.name.label"), input, hint);
  }

  // -- how long
  function time(family) {
    const estimate = h("p", { class: "estimate", role: "status" });
    const own = h("input", {
      type: "number",
      min: 0.1,
      max: 10080,
      step: "any",
      value: draft.own,
      "aria-label": t("teach.time.own.label"),
      class: "own-minutes",
    });
    const tell = () =>
      fill(
        estimate,
        draft.dataset ? expectation(draft.dataset, family, chosenMinutes(), draft.preset) : t("teach.estimate.none"),
      );
    const radio = (value, label, extra) => {
      const pick = () => ((draft.minutes = value), (draft.timed = true), tell());
      return h(
        "div",
        { class: "pick" },
        h(
          "label",
          {},
          h("input", { type: "radio", name: "minutes", value, checked: draft.minutes === value, onchange: pick }),
          h("span", {}, label),
        ),
        extra,
      );
    };
    own.addEventListener("input", () => {
      Object.assign(draft, { own: own.value, minutes: "own", timed: true });
      form.querySelector('input[name="minutes"][value="own"]').checked = true;
      tell();
    });
    const unit = h("span", { class: "muted" }, t("teach.time.unit"));
    tell();
    return [
      h(
        "fieldset",
        { class: "picks" },
        h("legend", { class: "visually-hidden" }, t("teach.time")),
        MINUTES.map((minutes) => radio(minutes, t(`teach.time.${minutes}`))),
        radio("recipe", t("teach.time.recipe")),
        radio("own", t("teach.time.own"), h("span", { class: "row" }, own, unit)),
      ),
      estimate,
    ];
  }

  // -- what else there is
  function more(family) {
    settings = null;
    if (!family) return null;
    const preset = h(
      "select",
      {},
      Object.keys(family.presets).map((each) =>
        h("option", { value: each, selected: each === (draft.preset || "auto") }, has(each)),
      ),
    );
    const hint = h("span", { lang: "en" });
    const place = h("div");
    const tell = () => {
      const chosen = family.presets[preset.value];
      fill(hint, chosen.description);
      settings = schemaForm(family.config_schema, {
        base: chosen.config,
        given: draft.config,
        onChange: () => (draft.config = settings.values()),
      });
      fill(place, settings);
    };
    preset.addEventListener("change", () => ((draft.preset = preset.value), tell()));
    tell();

    const fitting = models.filter((model) => model.modality === family.modality && model.active);
    const bases = fitting.map((model) => `${model.name}@${model.active}`);
    if (draft.base && draft.base !== "none" && !bases.includes(draft.base)) bases.push(draft.base);
    const base = h(
      "select",
      { onchange: () => (draft.base = base.value) },
      family.modality === "text" && h("option", { value: "" }, t("teach.base.auto")),
      h("option", { value: "none", selected: draft.base === "none" }, t("teach.base.none")),
      bases.map((each) =>
        h("option", { value: each, selected: each === draft.base }, t("teach.base.from", { name: each })),
      ),
    );
    const activate = h(
      "select",
      { onchange: () => (draft.activate = activate.value) },
      ["if_better", "always", "never"].map((each) =>
        h("option", { value: each, selected: each === draft.activate }, t(`teach.activate.${each}`)),
      ),
    );
    const seed = h("input", {
      type: "number",
      min: 0,
      max: 4294967295,
      step: 1,
      value: draft.seed,
      placeholder: t("teach.seed.any"),
      oninput: () => (draft.seed = seed.value),
    });
    const knobs = h(
      "details",
      { class: "knobs" },
      h("summary", {}, t("teach.knobs")),
      h("p", { class: "hint" }, t("teach.knobs.text")),
      place,
    );
    return h(
      "details",
      { class: "more" },
      h("summary", {}, t("teach.more")),
      h(
        "div",
        { class: "stack" },
        h(
          "div",
          { class: "columns" },
          field(t("teach.base"), base, t("teach.base.hint")),
          field(t("teach.activate"), activate, t("teach.activate.hint")),
          field(t("teach.preset"), preset, hint),
          field(t("teach.seed"), seed, t("teach.seed.hint")),
        ),
        knobs,
      ),
    );
  }
  const has = (preset) =>
    ["auto", "lecture", "small", "minimax", "quick"].includes(preset) ? t(`teach.preset.${preset}`) : preset;

  // -- go
  function start(family) {
    const act = async () => {
      const minutes = chosenMinutes();
      const wanted = {
        family: family.name,
        dataset: draft.dataset.id,
        model: draft.name || undefined,
        activate: draft.activate,
        base: draft.base || undefined,
        preset: draft.preset || undefined,
        config: settings.values(),
      };
      if (minutes) wanted.budget = { minutes };
      if (draft.seed !== "") wanted.seed = Number(draft.seed);
      try {
        const job = await state.client.train(wanted);
        clear();
        navigate("teach", job.id);
      } catch (error) {
        if (error.errors?.some(({ pointer }) => pointer?.startsWith("/config/")))
          form.querySelectorAll("details").forEach((each) => (each.open = true));
        settings.mark(error.errors ?? []);
        throw error;
      }
    };
    const button = doing(t("teach.start"), act, { into: said, class: "primary big", type: "submit" });
    // The form's own bounds have the first word: what breaks them is opened, named and gets the focus.
    const check = (event) => {
      if (!draft.dataset) {
        event.stopImmediatePropagation();
        return fill(said, h("p", { class: "problem", role: "alert" }, t("teach.start.what")));
      }
      const counts = (input) => draft.minutes === "own" || !input.classList.contains("own-minutes");
      const wrong = [...form.querySelectorAll(":is(input, select):invalid")].find(counts);
      if (!wrong) return;
      event.stopImmediatePropagation();
      for (let at = wrong.closest("details"); at; at = at.parentElement.closest("details")) at.open = true;
      wrong.reportValidity();
    };
    button.addEventListener("click", check, { capture: true });
    return button;
  }

  signal.addEventListener("abort", () => (draft.config = settings?.values() ?? draft.config));
  return form;
}

const chosenMinutes = () =>
  draft.minutes === "recipe" ? null : Number(draft.minutes === "own" ? draft.own : draft.minutes);

/** What to expect in that time, at one look, and when it will be done. */
function expectation({ modality, counts, id }, family, minutes, preset) {
  if (minutes === null) {
    const { minutes: most, epochs, steps } = family.presets[preset || "auto"].budget;
    const limits = [
      epochs && t("teach.rounds", { n: epochs, rounds: integer(epochs) }),
      steps && t("teach.updates", { n: steps, updates: integer(steps) }),
      most && t("teach.at-most", { time: duration(60 * most) }),
    ];
    return t("teach.estimate.recipe", { limits: limits.filter(Boolean).join(", ") });
  }
  if (!(minutes >= 0.1)) return t("teach.estimate.bad");
  const long = minutes < 3 ? "short" : minutes < 10 ? "medium" : minutes < 40 ? "long" : "longest";
  const size =
    modality === "text"
      ? id === "lecture" || counts.words < SHORT_TEXT
        ? "few"
        : counts.words > LONG_TEXT
          ? "many"
          : "some"
      : counts.pictures < FEW_PICTURES
        ? "few"
        : "some";
  const kind = modality === "number" ? "number" : size === "few" ? `${modality}.few` : `${modality}.${long}`;
  const done = new Date(Date.now() + 60_000 * (minutes + 0.5));
  const clock = new Intl.DateTimeFormat(language, { hour: "numeric", minute: "2-digit" }).format(done);
  return `${t(`teach.estimate.${kind}`)} ${t("teach.estimate.done", { clock })}`;
}
