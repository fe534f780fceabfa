// Template sets: seen, made, changed, deleted. They have no versions, so each change can be taken back while its message is there.

import { ask, root } from "./api.js";
import { byId, h, number, toast } from "./dom.js";
import { sure } from "./named.js";

export const countOf = (templates) => `${number(templates.length)} template${templates.length === 1 ? "" : "s"}`;

export class TemplateSets {
  /** `onchange(name)` where they are others now; the one of that name is to be shown, or none. */
  constructor({ onchange }) {
    this.onchange = onchange;
    byId("new-templates").addEventListener("click", () => this.#edit());
    byId("change-templates").addEventListener("click", () => this.#edit(this.set));
    byId("copy-templates").addEventListener("click", () => this.#edit({ templates: this.set.templates }));
    byId("remove-templates").addEventListener("click", () => this.#remove());
  }

  show(set, writes) {
    this.set = set;
    byId("templates-name").textContent = set.name;
    byId("templates-about").textContent = `${countOf(set.templates)}${set.built_in ? ", built in" : ""}${set.templates.length > 1 ? ", averaged" : ""}. {} is where the label goes.`;
    byId("try-templates").href = `${root}/lab?${new URLSearchParams({ template: set.name })}`;
    byId("copy-templates").hidden = !writes;
    byId("change-templates").hidden = byId("remove-templates").hidden = !writes || set.built_in;
    byId("template-list").replaceChildren(...set.templates.map((text) => h("li", {}, text)));
  }

  /** A form for a new set, or for one that is there and has a name. */
  #edit({ name = "", templates = [] } = {}) {
    const title = name ? `Change “${name}”` : "A new template set";
    const named = h("input", { id: "templates-new-name", type: "text", required: true, maxLength: 200, autocomplete: "off" });
    const lines = h("textarea", { id: "templates-lines", required: true, spellcheck: false, placeholder: "a photo of a {}.", value: templates.join("\n"),
      rows: Math.min(14, Math.max(4, templates.length + 1)) });
    const wrong = h("p", { class: "wrong", role: "alert" });
    const form = h("form", {}, h("h2", {}, title), ...(name ? [] : [h("label", { for: named.id }, "Name"), named]),
      h("label", { for: lines.id }, "Templates, one per line; {} is where the label goes"), lines, wrong,
      h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), h("button", { type: "submit", class: "primary" }, "Save")));
    const dialog = h("dialog", { class: "small", "aria-label": title }, form);
    dialog.addEventListener("close", () => dialog.remove());
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const before = name ? templates : null;
      const now = lines.value.split("\n").map((line) => line.trim()).filter(Boolean);
      try {
        const made = await put(name || named.value.trim(), now, before);
        dialog.close();
        await this.#changed(made.name, before ? `“${made.name}” is changed.` : `“${made.name}” is saved.`, made.templates, before);
      } catch (error) { wrong.textContent = error.message; }
    });
    document.body.append(dialog);
    dialog.showModal();
  }

  async #remove() {
    const { name, templates } = this.set;
    if (!await sure("template set", name, "Label sets that were made with it keep their prompts. Addresses that name it no longer work.")) return;
    try {
      await put(name, null, templates);
      await this.#changed(name, `“${name}” is deleted.`, null, templates);
    } catch (error) { toast(error.message); }
  }

  /** Tell of a change, which can be taken back as long as nobody has made another one. */
  async #changed(name, text, now, before) {
    await this.onchange(now && name);
    this.told?.remove();
    this.told = toast(text, { text: "Undo", run: async () => {
      try {
        await put(name, before, now);
        await this.onchange(before && name);
        toast("Taken back.");
      } catch (error) { toast(error.message); }
    } });
  }
}

/** Keep templates under a name, or none, if what is there still is what is to be replaced: a list, or null where nothing is. */
async function put(name, templates, replaced) {
  const there = (await ask("/v1/template-sets")).find((one) => one.name === name)?.templates ?? null;
  if (JSON.stringify(there) !== JSON.stringify(replaced)) {
    throw new Error(replaced === null ? `There is a template set “${name}” already.` : `Somebody else has ${there ? "changed" : "deleted"} “${name}” meanwhile.`);
  }
  return ask(`/v1/template-sets/${encodeURIComponent(name)}`, templates ? { method: "PUT", body: { templates } } : { method: "DELETE" });
}
