/** One model: its versions side by side, which of them answers, and what to keep. */
import { fill, h } from "../lib/dom.js";
import { duration, t } from "../lib/i18n.js";
import { confirm, doing, field, toast } from "../lib/parts.js";
import { state } from "../lib/state.js";
import { best, comparable, explained, metricsOf, shown } from "./models-metrics.js";
import {
  STARTERS,
  address,
  ask,
  bytes,
  crumbs,
  download,
  hidden,
  importDialog,
  jobOf,
  kind,
  reason,
  sample,
  tell,
  when,
} from "./models-parts.js";
import { titleOf } from "./teach-data.js";
import { tryAddress } from "./teach-words.js";
import { taught } from "./models-taught.js";

const SIDE_BY_SIDE = 4;

export async function showVersions(root, { name, signal, navigate }) {
  let model = await state.client.model(name);
  let all = false;
  const known = new Map(); // version -> what does not change: its samples and its job
  const said = h("div", { class: "said" });
  const head = h("div", { class: "stack" });
  const table = h("div", {
    class: "scroll compare",
    role: "region",
    tabindex: "0",
    "aria-label": t("models.versions"),
  });
  const below = h("p", { class: "row" });
  if (signal.aborted) return;
  h(root, {}, crumbs(["", name]), head, said, table, below);
  if (model.modality === "text") root.append(taught(name, signal));

  /** Do something to the model, then show it anew with the focus on `keys`' first that is there. */
  const change =
    (act, ...keys) =>
    async () => {
      if ((await act()) === false) return;
      model = await state.client.model(name);
      await render();
      const target = keys.map((key) => root.querySelector(`[data-key="${key}"]`)).find(Boolean) ?? table;
      target.focus();
    };
  const answersNow = () => toast(t("models.now", { v: model.active }));
  const button = (label, act, keys, properties) =>
    doing(label, change(act, ...keys), { into: said, class: "small", ...properties });

  const activate = (v) => async () => ((model = await state.client.activate(name, v)), answersNow());
  const rollBack = async () => ((model = await state.client.rollback(name)), answersNow());
  const remove = (version) => async () => {
    const v = version.version;
    if (version.active)
      // it would be refused with 409: say so before asking
      return tell(t("models.delete.active", { v }), t("models.delete.active.text"));
    if (!(await confirm(t("models.delete", { v }), t("models.delete.text", { name, v }), t("action.delete"))))
      return false;
    await state.client.deleteVersion(name, v);
    toast(t("models.deleted", { v }));
  };
  const removeModel = doing(
    t("models.delete-model"),
    async () => {
      if (
        !(await confirm(
          t("models.delete-model.title", { name }),
          t("models.delete-model.text", { n: model.versions.length }),
          t("action.delete"),
        ))
      )
        return;
      await state.client.deleteModel(name);
      toast(t("models.deleted-model", { name }));
      navigate("models");
    },
    { into: said, class: "small danger" },
  );
  const prune = h(
    "button",
    { type: "button", class: "small", onclick: () => pruneDialog(name, change) },
    t("models.prune"),
  );

  async function render() {
    const shownOnes = all ? model.versions : few(model);
    const cards = await Promise.all(shownOnes.map(remembered));
    if (signal.aborted) return;
    const many = model.versions.length > 1;
    const actions = h(
      "div",
      { class: "row" },
      model.active && model.modality !== "number"
        ? h("a", { class: "button primary small", href: tryAddress(model.modality, name) }, t("job.try"))
        : null,
      model.previous
        ? button(t("models.rollback"), rollBack, ["rollback"], {
            "data-key": "rollback",
            title: t("models.rollback.hint"),
          })
        : null,
      many ? prune : null,
      h("button", { type: "button", class: "small", onclick: () => importDialog(navigate) }, t("models.import")),
      STARTERS.includes(name) ? null : removeModel,
    );
    const answer = model.active ? t("models.answers", { v: model.active }) : t("models.no-active");
    fill(head, h("h1", {}, name), h("p", { class: "lead" }, kind(model.modality), ". ", answer), actions);
    fill(table, compare(cards));
    const more = () => ((all = true), render().then(() => table.focus()));
    fill(
      below,
      !all && shownOnes.length < model.versions.length
        ? h("button", { type: "button", onclick: more }, t("models.all", { n: model.versions.length }))
        : null,
    );
  }

  async function remembered(version) {
    if (!known.has(version.version))
      known.set(version.version, Promise.all([state.client.version(name, version.version), jobOf(version)]));
    const [card, job] = await known.get(version.version);
    return { ...card, active: version.active, job };
  }

  function compare(cards) {
    const reference = cards.find((card) => card.active) ?? cards[0];
    const apart = cards.some((card) => !comparable(card, reference));
    const row = (label, cell, properties = {}) =>
      h(
        "tr",
        properties,
        h("th", { scope: "row" }, label),
        cards.map((card) => h("td", { class: card.active ? "serving" : "" }, cell(card))),
      );
    const metricRow = (metric) => {
      const winners = cards.length > 1 ? best(cards, metric, reference) : [];
      const cell = (card) => figure(metric, card, winners.includes(card), comparable(card, reference));
      return row(explained(metric), cell, { class: "metric", "data-metric": metric });
    };
    const columns = cards.map((card) =>
      h(
        "th",
        { scope: "col", class: card.active ? "serving" : "" },
        h(
          "a",
          { href: address(name, card.version), "data-key": `version-${card.version}` },
          t("models.version", { v: card.version }),
        ),
        card.active ? h("span", { class: "tag good" }, t("models.answering")) : null,
      ),
    );
    const caption = apart ? t("models.apart") : t("models.compare", { name });
    return h(
      "table",
      {},
      h("caption", { class: apart ? "hint" : "visually-hidden" }, caption),
      h("thead", {}, h("tr", {}, h("td", {}), columns)),
      h(
        "tbody",
        {},
        row(t("models.sample"), (card) =>
          card.samples.length ? h("div", { class: "sample" }, sample(card.samples[0], card)) : "–",
        ),
        row(t("models.verdict"), (card) => reason(card.job?.result?.reason)),
        metricsOf(model.modality, cards).map(metricRow),
        row(t("models.data"), (card) => titleOf(card.dataset)),
        row(t("models.base"), (card) =>
          card.base ? h("a", { href: `#/models/${encodeURIComponent(card.base)}` }, card.base) : t("models.base.none"),
        ),
        row(t("models.trained-for"), (card) => duration(Math.max(1, card.seconds))),
        row(t("models.made"), (card) => [when(card.created_at), h("br"), bytes(card.bytes)]),
        row(h("span", { class: "visually-hidden" }, t("models.actions")), deeds, { class: "deeds" }),
      ),
    );
  }

  function deeds(card) {
    const v = card.version;
    const use = () =>
      button([t("models.activate"), hidden(v)], activate(v), [`version-${v}`], { "data-key": `activate-${v}` });
    return h(
      "div",
      { class: "stack" },
      card.active ? null : use(),
      download(name, v, { into: said, class: "small" }),
      button([t("action.delete"), hidden(v)], remove(card), [], { class: "small quiet", "data-key": `delete-${v}` }),
    );
  }

  await render();
}

/** The newest ones, and the one that answers. */
function few({ versions }) {
  const newest = versions.slice(0, SIDE_BY_SIDE);
  const active = versions.find((version) => version.active);
  return active && !newest.includes(active) ? [...newest.slice(0, -1), active] : newest;
}

function figure(metric, card, winner, same) {
  const value = h("span", { class: same ? "" : "muted" }, shown(metric, card.metrics[metric]));
  return winner ? [h("strong", {}, value), " ", h("span", { class: "better" }, t("models.best"))] : value;
}

function pruneDialog(name, change) {
  const keep = h("input", { type: "number", name: "keep", min: 0, max: 1000, value: 5, required: true });
  const fields = [h("p", {}, t("models.prune.text")), field(t("models.prune.keep"), keep)];
  ask(t("models.prune.title", { name }), fields, t("models.prune.yes"), async (data) => {
    const { deleted } = await state.client.prune(name, Number(data.get("keep")));
    toast(deleted.length ? t("models.pruned", { n: deleted.length }) : t("models.pruned.none"));
    await change(() => {})();
  });
}
