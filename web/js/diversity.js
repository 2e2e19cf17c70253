// Colours of our sockets, and verdicts that stay on nodes: in subgraphs that are closed, in cached runs, after a reload.
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";

const PREFIX = "Diversity";
const COLOURS = {
  DIVERSITY_BANK: "#4fb3a5",
  DIVERSITY_EXEMPLARS: "#d9a441",
  DIVERSITY_INDEX: "#d0605e",
  DIVERSITY_CENTROID: "#8f7fd4",
  DIVERSITY_TRACE: "#7fa7d9",
  DIVERSITY_REPELLENCY_OPTIONS: "#a5b36a",
  DIVERSITY_VENDI_OPTIONS: "#a5b36a",
  DIVERSITY_NOISE_OPTIONS: "#a5b36a",
  DIVERSITY_REPORT_OPTIONS: "#a5b36a",
  DIVERSITY_REPORT_NUMBERS: "#c58fb8",
};

const verdicts = new WeakMap();

// A palette that names one of our types wins; one that leaves it empty does not take the colour away.
function colour(table) {
  for (const [type, ours] of Object.entries(COLOURS)) {
    let chosen = table[type];
    Object.defineProperty(table, type, {
      configurable: true,
      enumerable: true,
      get: () => chosen || ours,
      set: (value) => (chosen = value),
    });
  }
}

function show(node) {
  const text = verdicts.get(node);
  if (text && node.graph === app.canvas?.graph)
    api.dispatchCustomEvent?.("progress_text", { nodeId: String(node.id), text });
}

function keep(node, output) {
  const verdict = output?.verdict?.[0];
  if (!node || !verdict) return;
  verdicts.set(node, [verdict.text && `${verdict.text}.`, verdict.details].filter(Boolean).join("\n"));
  show(node);
}

// "3:7" is node 7 in the subgraph that node 3 of the root stands for.
function nodeAt(graph, id) {
  const [first, ...rest] = id.split(":");
  const node = graph?.getNodeById(Number(first));
  return rest.length ? nodeAt(node?.subgraph, rest.join(":")) : node;
}

async function recall(graph) {
  const id = graph?.id;
  if (!id) return;
  const runs = Object.values(await (await api.fetchApi("/history?max_items=64")).json());
  const ours = runs.filter(({ prompt }) => prompt?.[3]?.extra_pnginfo?.workflow?.id === id);
  // A run from the host's cache leaves out nodes that an earlier one tells of.
  for (const { outputs } of ours.sort((one, other) => one.prompt[0] - other.prompt[0]))
    for (const [node, output] of Object.entries(outputs ?? {})) keep(nodeAt(graph, node), output);
}

app.registerExtension({
  name: "DiversityGuidance",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith(PREFIX)) return;
    const onExecuted = nodeType.prototype.onExecuted;
    nodeType.prototype.onExecuted = function (output) {
      onExecuted?.apply(this, arguments);
      keep(this, output);
    };
  },
  setup() {
    colour(app.canvas.default_connection_color_byType);
    colour(app.canvas.constructor.link_type_colors);
    const style = document.createElement("style");
    const rules = Object.entries(COLOURS).map(([type, value]) => `--color-datatype-${type}: ${value};`);
    style.textContent = `:root { ${rules.join(" ")} }`;
    document.head.append(style);
    app.canvas.canvas.addEventListener("litegraph:set-graph", () =>
      setTimeout(() => app.canvas.graph?.nodes?.forEach(show)),
    );
  },
  afterConfigureGraph() {
    recall(app.rootGraph ?? app.graph).catch(() => {});
  },
});
