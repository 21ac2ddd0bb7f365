/**
 * A form drawn from a JSON schema: a family's `config_schema` from GET /families.
 *
 *   const form = schemaForm(family.config_schema, { base: preset.config, given: draft.config, onChange });
 *   form.values();              // what was set, as the service wants it; what is left empty is not in it
 *   form.mark(error.errors);    // shows the service's words at the fields that its pointers (/config/…) name
 *
 * A field left empty keeps its default, which it shows: the preset's (`base`), else the schema's, else "automatic".
 */
import { fill, h, set } from "./dom.js";
import { t } from "./i18n.js";
import { field } from "./parts.js";

/** @returns {HTMLElement & {values(): object, mark(errors: {pointer: string, detail: string}[]): boolean}} */
export function schemaForm(schema, { base = {}, given = {}, onChange = () => {} } = {}) {
  const fields = new Map();
  for (const [name, property] of Object.entries(schema.properties)) {
    const made = control(name, kindOf(property), name in base ? base[name] : property.default, given[name]);
    fields.set(name, made);
    made.input.addEventListener(
      "input",
      () => (set(made.input, { "aria-invalid": null }), fill(made.said), onChange()),
    );
  }
  const element = h(
    "div",
    { class: "schema" },
    [...fields.values()].map((made) => made.element),
  );

  element.values = () => {
    const values = [...fields].map(([name, { read }]) => [name, read()]);
    return Object.fromEntries(values.filter(([, value]) => value !== undefined));
  };
  element.mark = (errors) => {
    const ours = errors
      .map(({ pointer, detail }) => [fields.get(pointer?.split("/")[2]), detail])
      .filter(([made]) => made);
    for (const [made, detail] of ours) {
      set(made.input, { "aria-invalid": "true" });
      fill(made.said, detail);
    }
    ours[0]?.[0].input.focus();
    return ours.length > 0;
  };
  return element;
}

/** What a property is, without the "or null" that stands for "choose it for me". */
function kindOf(property) {
  const kind = property.anyOf?.find(({ type }) => type !== "null") ?? property;
  return { ...kind, description: property.description };
}

function control(name, kind, usual, given) {
  const label = name.replaceAll("_", " ").replace(/^./, (letter) => letter.toUpperCase());
  const input =
    kind.type === "boolean" || kind.enum
      ? choice(kind, usual, given)
      : kind.type === "array"
        ? list(usual, given)
        : numeric(kind, usual, given);
  const said = h("span", { class: "field-error", role: "alert" });
  // The service describes its settings in English alone.
  const hint = [kind.description ? h("span", { lang: "en" }, kind.description, ". ") : null, bounds(kind), " ", said];
  const element = field(label, input, hint);
  const read = () => {
    if (input.value.trim() === "") return undefined;
    if (kind.type === "boolean") return input.value === "true";
    if (kind.type === "array")
      return input.value
        .split(/[\s,]+/)
        .filter(Boolean)
        .map(Number);
    return kind.type === "string" ? input.value : Number(input.value);
  };
  return { element, input, said, read };
}

const automatic = (usual) => usual === null || usual === undefined;
const word = (value) => (typeof value === "boolean" ? t(value ? "form.yes" : "form.no") : String(value));
const usually = (usual) => (automatic(usual) ? t("form.automatic") : t("form.default", { value: word(usual) }));

function choice(kind, usual, given) {
  const values = kind.enum ?? [true, false];
  const options = values.map((value) => h("option", { value: String(value), selected: value === given }, word(value)));
  return h("select", {}, h("option", { value: "", selected: given === undefined }, usually(usual)), options);
}

function list(usual, given) {
  return h("input", {
    type: "text",
    inputmode: "numeric",
    pattern: "[0-9]+([ ,]+[0-9]+)*",
    placeholder: usually(usual),
    title: t("form.list"),
    value: given?.join(", ") ?? "",
  });
}

function numeric(kind, usual, given) {
  const input = h("input", {
    type: "number",
    placeholder: usually(usual),
    value: given ?? "",
    step: kind.type === "integer" ? 1 : "any",
  });
  set(input, { min: kind.minimum ?? kind.exclusiveMinimum, max: kind.maximum ?? kind.exclusiveMaximum });
  // HTML knows no bound that is itself excluded.
  const check = () => {
    const value = input.valueAsNumber;
    const out = value <= kind.exclusiveMinimum || value >= kind.exclusiveMaximum;
    input.setCustomValidity(out ? bounds(kind) : "");
  };
  input.addEventListener("input", check);
  return input;
}

function bounds(kind) {
  const [low, high] = [kind.minimum ?? kind.exclusiveMinimum, kind.maximum ?? kind.exclusiveMaximum];
  const above = kind.exclusiveMinimum !== undefined ? "form.above" : "form.from";
  const below = kind.exclusiveMaximum !== undefined ? "form.below" : "form.to";
  return [low === undefined ? "" : t(above, { low }), high === undefined ? "" : t(below, { high })]
    .filter(Boolean)
    .join(" ")
    .replace(/.$/, "$&.");
}
