/** A version's card: what it made, how good it is, how it learned, from what, and what it makes of a text of yours. */
import { fill, h } from "../lib/dom.js";
import { lineChart } from "../lib/chart.js";
import { duration, has, integer, number, t } from "../lib/i18n.js";
import { doing, facts, toast } from "../lib/parts.js";
import { sampleSlider } from "../lib/samples.js";
import { state } from "../lib/state.js";
import { trial } from "./models-evaluate.js";
import { explained, floor, metricName, metricsOf, shown } from "./models-metrics.js";
import { address, bytes, crumbs, download, jobOf, kind, reason, sample, when } from "./models-parts.js";
import { taught } from "./models-taught.js";
import { titleOf } from "./teach-data.js";

const PARTS = ["", "lstm_", "ngram_", "ngram_cache_"]; // prefixes of the figures of a text model's parts
const SCORE = { text: "perplexity", image: "frechet_distance", number: "ks_distance" };

export async function showCard(root, { name, version, signal }) {
  const card = await state.client.version(name, version);
  const job = await jobOf(card);
  if (signal.aborted) return;
  const text = card.modality === "text";
  h(
    root,
    {},
    crumbs([address(name), name], ["", t("models.version", { v: version })]),
    header(card),
    h("div", { class: "columns" }, h("div", { class: "stack wide" }, samples(card), verdict(job)), origin(card, job)),
    measures(card),
    curves(card, signal),
    text ? trial(`${name}@${version}`, signal) : null,
    text ? taught(name, signal, card) : null,
    settings(card),
  );
}

function header(card) {
  const { name, version } = card;
  const said = h("div", { class: "said" });
  const place = h("p", { class: "row" });
  const use = doing(
    t("models.activate"),
    async () => {
      await state.client.activate(name, version);
      card.active = true;
      toast(t("models.now", { v: version }));
      render();
      place.querySelector("button").focus();
    },
    { into: said, class: "primary" },
  );
  const render = () =>
    fill(
      place,
      card.active ? h("span", { class: "tag good" }, t("models.answering")) : use,
      download(name, version, { into: said }),
    );
  render();
  const title = h("h1", {}, name, " ", h("span", { class: "muted" }, t("models.version", { v: version })));
  return h("div", { class: "stack" }, title, h("p", { class: "lead" }, kind(card.modality)), place, said);
}

function samples(card) {
  const shown = card.samples.map((each) => h("div", { class: "sample" }, sample(each, card)));
  return h(
    "section",
    { class: "card" },
    h("h2", {}, t("models.samples")),
    shown.length ? shown : h("p", { class: "muted" }, t("models.samples.none")),
  );
}

const verdict = (job) =>
  h("section", { class: "card" }, h("h2", {}, t("models.verdict")), h("p", {}, reason(job?.result?.reason)));

/** What it was made of, and how. */
function origin(card, job) {
  const { dataset } = card;
  const counts = Object.entries(dataset.counts).filter(([name]) => has(`models.count.${name}`) && dataset.counts[name]);
  const base = card.base
    ? h("a", { href: `#/models/${encodeURIComponent(card.base)}` }, card.base)
    : t("models.base.none");
  return h(
    "section",
    { class: "card" },
    h("h2", {}, t("models.origin")),
    h("p", {}, titleOf(dataset)),
    facts([
      ...counts.map(([name, value]) => [t(`models.count.${name}`), integer(value)]),
      [t("models.licence"), dataset.licence || t("models.licence.none")],
      [t("models.hash"), h("code", { title: dataset.sha256 }, dataset.sha256.slice(0, 12))],
    ]),
    dataset.attribution ? h("p", { class: "hint" }, t("models.attribution"), ": ", dataset.attribution) : null,
    facts(
      [
        [t("models.base"), base],
        [t("models.trained-for"), duration(Math.max(1, card.seconds))],
        [t("models.made"), when(card.created_at)],
        [t("models.size"), bytes(card.bytes)],
        [t("models.parameters"), integer(card.parameters)],
        job ? [t("models.job"), h("a", { href: `#/teach/${job.id}` }, t("models.job.look"))] : null,
      ].filter(Boolean),
    ),
  );
}

/** Every figure with what it means, and beside it what real data scores where that is known. */
function measures(card) {
  const all = metricsOf(card.modality, [card], true);
  const main = metricsOf(card.modality, [card]);
  const floors = all.some((metric) => typeof floor(card, metric) === "number");
  const row = (metric) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, explained(metric)),
      h("td", {}, shown(metric, card.metrics[metric])),
      floors ? h("td", { class: "muted" }, shown(metric, floor(card, metric))) : null,
    );
  const head = [t("models.figure"), t("models.value"), floors ? t("models.floor") : null].filter(Boolean);
  const table = (label, metrics) =>
    wide(
      label,
      h(
        "table",
        { class: "measures" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            head.map((each) => h("th", { scope: "col" }, each)),
          ),
        ),
        h("tbody", {}, metrics.map(row)),
      ),
    );
  const rest = all.filter((metric) => !main.includes(metric));
  return h(
    "section",
    { class: "card" },
    h("h2", {}, t("models.measures")),
    h(
      "p",
      { class: "muted" },
      t(`models.split.${card.metrics.split ?? "test"}`),
      " ",
      floors ? t("models.floor.text") : "",
    ),
    table(t("models.measures"), main),
    rest.length
      ? h("details", {}, h("summary", {}, t("models.measures.more")), table(t("models.measures.more"), rest))
      : null,
    parts(card),
  );
}

/** A table that may be wider than the page: it scrolls by itself, by keyboard too. */
const wide = (label, table) => h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, table);

/** What each part of a text model would score if it answered alone. */
function parts(card) {
  const there = PARTS.filter((prefix) => typeof card.metrics[`${prefix}perplexity`] === "number");
  if (there.length < 2) return null;
  const metrics = ["perplexity", "top1", "top3", "keystroke_savings"];
  const row = (prefix) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, t(`models.part.${prefix || "all"}`)),
      metrics.map((metric) => h("td", {}, shown(metric, card.metrics[prefix + metric]))),
    );
  const table = h(
    "table",
    {},
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        h("td", {}),
        metrics.map((metric) => h("th", { scope: "col" }, metricName(metric))),
      ),
    ),
    h("tbody", {}, there.map(row)),
  );
  return h(
    "details",
    {},
    h("summary", {}, t("models.parts")),
    h("p", { class: "hint" }, t("models.parts.text")),
    wide(t("models.parts"), table),
  );
}

/** How the figures changed while it was trained: its job knows. */
function curves(card, signal) {
  if (!card.job_id) return null;
  const section = h("section", { class: "card" }, h("h2", {}, t("models.curves")));
  const main = SCORE[card.modality];
  const chart = (title, lines, range) => lineChart({ title, x: t("models.curves.step"), lines, signal, range });
  const score = chart(metricName(main), [{ key: main, label: metricName(main) }]);
  const duel =
    card.family === "gan"
      ? chart(
          t("models.curves.duel"),
          ["d_real", "d_fake"].map((key) => ({ key, label: metricName(key) })),
          [0, 1],
        )
      : null;
  const figures = [[metricName(main), score], duel ? [t("models.curves.duel"), duel] : null].filter(Boolean);
  const body = h(
    "div",
    { class: "columns" },
    figures.map(([title, element]) => h("div", {}, h("h3", {}, title), element)),
  );
  const without = () => body.replaceWith(h("p", { class: "muted" }, t("models.curves.none")));
  section.append(body);
  state.client
    .history(card.job_id)
    .then(({ points }) => {
      if (signal.aborted) return;
      if (!points.length) return without();
      const at = points.map((point) => ({ ...point, x: point.step }));
      for (const [, element] of figures) element.show(at);
    })
    .catch(() => signal.aborted || without());
  along(card, section, signal).catch(() => {}); // its run may have been cleared away: the curves are still true
  return section;
}

/** What it made while it learned, from the same seeds. */
async function along(card, section, signal) {
  const { samples: made } = await state.client.samples(card.job_id);
  if (signal.aborted || made.length < 2) return;
  const slider = sampleSlider({ label: t("models.along"), pixels: card.modality === "image", signal });
  section.append(h("div", { class: "along" }, h("h3", {}, t("models.along")), slider));
  slider.show(made);
}

function settings(card) {
  const value = (each) =>
    typeof each === "number" ? number(each, 6) : Array.isArray(each) ? each.join(", ") : String(each);
  const all = [
    ["preset", card.preset],
    ["seed", String(card.seed)],
    ["epochs", card.epochs],
    ["steps", card.steps],
    ["device", card.device],
    ...Object.entries(card.config),
    ...Object.entries(card.made_with),
  ];
  return h(
    "details",
    { class: "card settings" },
    h("summary", {}, t("models.settings")),
    h("p", { class: "hint" }, t("models.settings.text")),
    facts(all.map(([name, each]) => [h("code", {}, name), value(each)])),
  );
}
