// The sidebar panel Memory: looks into Memory Banks, and tidies them.
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { MemoryPanel } from "./memory_panel.js";
import { loadTexts, say } from "./memory_texts.js";

const ENDS = ["execution_success", "execution_error", "execution_interrupted"];

let panel = null;

function render(place) {
  panel ??= new MemoryPanel();
  // The editor calls this again whenever it draws the sidebar anew.
  if (panel.root.parentElement !== place) {
    place.style.height = "100%";
    place.replaceChildren(panel.root);
    panel.refresh();
  }
}

app.registerExtension({
  name: "DiversityGuidance.Memory",
  async setup() {
    const manager = app.extensionManager;
    if (!manager?.registerSidebarTab) return;
    await loadTexts();
    const style = document.createElement("link");
    style.rel = "stylesheet";
    style.href = new URL("./memory.css", import.meta.url).href;
    document.head.append(style);
    manager.registerSidebarTab({
      id: "diversity-memory",
      icon: "pi pi-images",
      title: say("Memory"),
      tooltip: say("Memory: the images that Memory Banks hold"),
      type: "custom",
      render,
    });
    for (const end of ENDS) api.addEventListener(end, () => panel?.root.isConnected && panel.refresh());
  },
});
