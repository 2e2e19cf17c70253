// Our templates by name: the host lists files as its file system does, and the editor shows them in that order.
import { api } from "../../../scripts/api.js";

const FOLDER = decodeURIComponent(new URL(import.meta.url).pathname.split("/").at(-3));

const list = api.getWorkflowTemplates;
if (list)
  api.getWorkflowTemplates = async function () {
    const templates = await list.apply(this, arguments);
    templates?.[FOLDER]?.sort();
    return templates;
  };
