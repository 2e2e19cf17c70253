// What the panel shows of one bank, and the requests behind it.
import { app } from "../../../scripts/app.js";
import { button, icon, make, megabytes } from "./memory_dom.js";
import { LastRun } from "./memory_last_run.js";
import { ask, thumbnailAddress } from "./memory_requests.js";
import { locale, say } from "./memory_texts.js";

const PAGE = 48;
const TYPING = 250; // ms

export class MemoryPanel {
  constructor() {
    this.bank = "";
    this.entries = [];
    this.found = 0;
    this.chosen = new Set();
    this.asked = 0;
    this.banks = make("select", { class: "dgm-field", "aria-label": say("Memory Bank"), on: { change: () => this.choose(this.banks.value) } });
    this.filter = make("input", { class: "dgm-field", type: "search", placeholder: say("Filter by prompt"), "aria-label": say("Filter by prompt"), maxlength: 1000, on: { input: () => this.later() } });
    this.size = make("span", { class: "dgm-muted dgm-grow", role: "status" });
    this.undoing = button("undo", say("Undo the last change"), () => this.undo(), { text: say("Undo") });
    this.grid = make("div", {
      class: "dgm-grid",
      role: "listbox",
      "aria-multiselectable": "true",
      "aria-label": say("Images of the bank, newest first"),
      on: { click: (event) => this.click(event), keydown: (event) => this.key(event) },
    });
    this.message = make("div", { class: "dgm-message", role: "alert", hidden: true });
    this.more = button("chevron-down", say("Show more"), () => this.load(true), { text: say("Show more"), class: "dgm-more" });
    this.actions = make("div", { class: "dgm-actions", hidden: true });
    this.lastRun = new LastRun((bank) => ask("pushes", { bank }));
    this.tools = make("div", { class: "dgm-tools" }, this.banks, make("div", { class: "dgm-search" }, icon("search"), this.filter), make("div", { class: "dgm-row" }, this.size, this.undoing));
    const refresh = button("refresh", say("Refresh"), () => this.refresh());
    this.root = make(
      "div",
      { class: "dgm", "data-testid": "diversity-memory" },
      make("header", { class: "dgm-header" }, make("span", { class: "dgm-title", text: say("Memory") }), refresh),
      this.tools,
      make("div", { class: "dgm-body" }, this.message, this.grid, this.more),
      this.lastRun.root,
      this.actions,
    );
  }

  async refresh() {
    try {
      const { banks } = await ask("banks");
      this.known = banks;
      if (!banks.some(({ name }) => name === this.bank)) this.bank = this.newest(banks);
      this.banks.replaceChildren(...banks.map(({ name }) => make("option", { value: name, text: name })));
      this.banks.value = this.bank;
      this.tools.hidden = !banks.length;
      await this.load();
    } catch (error) {
      this.tell(error.message, true);
    }
  }

  newest(banks) {
    const byTime = [...banks].sort((one, other) => (other.changed ?? "").localeCompare(one.changed ?? ""));
    return byTime[0]?.name ?? "";
  }

  choose(name) {
    this.bank = name;
    this.chosen.clear();
    this.load();
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.load(), TYPING);
  }

  // Only the answer to the last question is shown.
  async load(further = false) {
    const asked = ++this.asked;
    if (!this.bank) {
      this.show([], 0);
      this.tell(say("There is no Memory Bank yet. Save to Memory Bank makes one when it runs."));
      return;
    }
    const known = this.known?.find(({ name }) => name === this.bank);
    try {
      const start = further ? this.entries.length : 0;
      const count = further ? PAGE : Math.max(PAGE, Math.min(this.entries.length, 200));
      const page = await ask("entries", { bank: this.bank, text: this.filter.value, start, count });
      if (asked !== this.asked) return;
      this.show(further ? [...this.entries, ...page.entries] : page.entries, page.found);
      this.measure(page, known);
      this.tell(this.why(page));
      this.lastRun.show(this.bank);
    } catch (error) {
      if (asked !== this.asked) return;
      this.show([], 0);
      this.size.textContent = "";
      this.tell(error.message, true);
    }
  }

  measure(page, known) {
    const images = page.total === 1 ? say("1 image") : say("{count} images", { count: page.total.toLocaleString(locale()) });
    const counted = this.filter.value ? say("{found} of {images}", { found: page.found, images }) : images;
    this.size.textContent = known?.disk_bytes === undefined ? counted : `${counted} · ${megabytes(known.disk_bytes)}`;
    this.size.title = known?.live_bytes === undefined ? "" : say("{disk} on disk, {live} of it for these images", { disk: megabytes(known.disk_bytes), live: megabytes(known.live_bytes) });
  }

  why(page) {
    if (!page.total) return say("This bank is empty.");
    if (!page.found) return say("No prompt holds this text.");
    return page.unreadable ? say("Images that cannot be read: {count}. Repair the bank with the command diversity-guidance bank repair.", { count: page.unreadable }) : "";
  }

  tell(text, wrong = false) {
    this.message.textContent = text;
    this.message.hidden = !text;
    this.message.classList.toggle("dgm-wrong", wrong);
    this.undoing.hidden = wrong;
  }

  show(entries, found) {
    const focused = this.root.contains(document.activeElement) ? document.activeElement.dataset?.id : undefined;
    this.entries = entries;
    this.found = found;
    const ids = new Set(entries.map(({ id }) => id));
    for (const id of this.chosen) if (!ids.has(id)) this.chosen.delete(id);
    this.grid.replaceChildren(...entries.map((entry) => this.card(entry)));
    this.more.hidden = entries.length >= found;
    const first = this.grid.querySelector(`[data-id="${focused}"]`) ?? this.grid.firstElementChild;
    if (first) first.tabIndex = 0;
    if (focused) first?.focus();
    this.mark();
  }

  card(entry) {
    const date = new Date(entry.created);
    const when = Number.isNaN(date.getTime()) ? entry.created : date.toLocaleString(locale(), { dateStyle: "short", timeStyle: "short" });
    const prompt = entry.prompt || say("No prompt was saved");
    const seed = entry.seed === null ? "" : say("seed {seed}", { seed: entry.seed });
    const image = entry.thumbnail
      ? make("img", { src: thumbnailAddress(this.bank, entry.id), alt: "", loading: "lazy", draggable: "false", on: { error: ({ target }) => target.replaceWith(blank()) } })
      : blank();
    return make(
      "div",
      { class: "dgm-card", role: "option", tabindex: -1, "data-id": entry.id, title: [prompt, seed, when].filter(Boolean).join("\n"), "aria-label": [prompt, seed, when, entry.pinned && say("pinned")].filter(Boolean).join(", ") },
      make("div", { class: "dgm-image" }, image, entry.pinned ? make("span", { class: "dgm-pinned", title: say("Pinned") }, icon("thumbtack")) : null),
      make("div", { class: `dgm-prompt${entry.prompt ? "" : " dgm-muted"}`, text: prompt }),
      make("div", { class: "dgm-muted dgm-facts" }, make("span", { text: when }), seed && make("span", { text: seed })),
    );
  }

  click(event) {
    const card = event.target.closest("[data-id]");
    if (card) this.toggle(card, event.shiftKey);
  }

  toggle(card, range = false) {
    const cards = [...this.grid.children];
    const place = cards.indexOf(card);
    const from = range && this.anchor !== undefined ? this.anchor : place;
    const choose = range || !this.chosen.has(card.dataset.id);
    for (const each of cards.slice(Math.min(from, place), Math.max(from, place) + 1))
      choose ? this.chosen.add(each.dataset.id) : this.chosen.delete(each.dataset.id);
    this.anchor = place;
    this.focus(card);
    this.mark();
  }

  focus(card) {
    for (const each of this.grid.children) each.tabIndex = each === card ? 0 : -1;
    card.focus();
  }

  key(event) {
    const card = event.target.closest("[data-id]");
    if (!card) return;
    const cards = [...this.grid.children];
    const place = cards.indexOf(card);
    const columns = cards.filter((each) => each.offsetTop === cards[0].offsetTop).length;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -place, End: cards.length - 1 - place };
    if (event.key in steps) {
      const next = cards[place + steps[event.key]];
      if (next) this.focus(next);
    } else if (event.key === " " || event.key === "Enter") this.toggle(card, event.shiftKey);
    else if (event.key === "Escape") this.clear();
    else if (event.key === "Delete") {
      if (!this.chosen.size) this.toggle(card);
      this.remove();
    } else if (event.key === "a" && (event.ctrlKey || event.metaKey)) {
      for (const each of cards) this.chosen.add(each.dataset.id);
      this.mark();
    } else return;
    // The editor's own shortcuts would act on the graph.
    event.preventDefault();
    event.stopPropagation();
  }

  clear() {
    this.chosen.clear();
    this.mark();
  }

  mark() {
    for (const card of this.grid.children) card.setAttribute("aria-selected", String(this.chosen.has(card.dataset.id)));
    const count = this.chosen.size;
    this.actions.hidden = !count;
    if (!count) return;
    const chosen = this.entries.filter(({ id }) => this.chosen.has(id));
    const pin = !chosen.every(({ pinned }) => pinned);
    this.actions.replaceChildren(
      make("span", { class: "dgm-grow", text: say("{count} selected", { count }) }),
      button("thumbtack", pin ? say("Pin: never dropped to make room, and an example for Load Real Examples") : say("Unpin: dropped again when the bank is full"), () => this.pin(pin), { text: pin ? say("Pin") : say("Unpin") }),
      button("trash", say("Remove from the bank"), () => this.remove(), { text: say("Remove"), class: "dgm-danger" }),
      button("times", say("Clear the selection"), () => this.clear()),
    );
  }

  async remove() {
    const ids = [...this.chosen];
    const question = ids.length === 1 ? say("Remove this image from the bank?") : say("Remove these {count} images from the bank?", { count: ids.length });
    if (await confirmed(say("Remove from the bank"), `${question} ${say("Undo brings back what was removed last.")}`))
      await this.change("remove", { ids }, ({ removed }) => say("Removed: {count}", { count: removed }));
  }

  pin(pinned) {
    return this.change("pin", { ids: [...this.chosen], pinned });
  }

  undo() {
    return this.change("undo", {}, () => say("The last change was undone"));
  }

  async change(action, body, told) {
    try {
      const answer = await ask(action, null, { bank: this.bank, ...body });
      if (action !== "pin") this.chosen.clear();
      await this.refresh();
      if (told) toast("success", told(answer));
    } catch (error) {
      toast("error", error.message);
    }
  }
}

const blank = () => make("span", { class: "dgm-blank", title: say("No preview was saved") }, icon("image"));

function toast(severity, summary) {
  app.extensionManager?.toast?.add?.({ severity, summary, life: severity === "error" ? 10000 : 3000 });
}

async function confirmed(title, message) {
  const dialog = app.extensionManager?.dialog;
  if (!dialog?.confirm) return window.confirm(message);
  return Boolean(await dialog.confirm({ title, message }));
}
