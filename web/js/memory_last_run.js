// What pushed the images of the last guided run away from what.
import { icon, make } from "./memory_dom.js";
import { thumbnailAddress } from "./memory_requests.js";
import { say } from "./memory_texts.js";

export class LastRun {
  constructor(ask) {
    this.ask = ask;
    this.told = make("div", { class: "dgm-muted" });
    this.list = make("ul", { class: "dgm-pushes" });
    this.root = make("details", { class: "dgm-last-run", on: { toggle: () => this.show(this.bank) } }, make("summary", { text: say("What pushed the last run") }), this.told, this.list);
  }

  async show(bank) {
    this.bank = bank;
    if (!this.root.open || !bank) return;
    try {
      const { told, by, images } = await this.ask(bank);
      const similar = by === "similarity" ? say("All images push; the most similar ones, which are shown, weigh most.") : "";
      this.told.textContent = images.length ? [`${told}.`, similar].filter(Boolean).join(" ") : say("No guided run since ComfyUI was started.");
      this.list.replaceChildren(...images.map((image, place) => this.row(bank, image, place, images)));
    } catch (error) {
      this.told.textContent = error.message;
      this.list.replaceChildren();
    }
  }

  row(bank, image, place, images) {
    const own = this.picture(bank, image.id, say("image {place}", { place }));
    const others = image.pushed_from.map(({ reference, held, distance }) => {
      const [, other] = /^batch:(\d+)$/.exec(reference) ?? [];
      const name = other === undefined ? reference.slice(0, 16) : say("image {place}", { place: other });
      const id = held ? reference : images[other]?.id;
      return this.picture(bank, id, name, say("{name}, at distance {distance}", { name, distance }));
    });
    if (!others.length) return make("li", {}, own, make("span", { class: "dgm-muted", text: say("was not pushed") }));
    return make("li", {}, own, make("span", { class: "dgm-muted", title: say("was pushed away from") }, icon("arrow-left")), ...others);
  }

  picture(bank, id, name, title = name) {
    const label = make("span", { class: "dgm-label", text: name, title });
    if (!id) return label;
    return make("img", { src: thumbnailAddress(bank, id), alt: name, title, on: { error: ({ target }) => target.replaceWith(label) } });
  }
}
