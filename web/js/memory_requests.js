// Requests to the panel's routes; every failure becomes an error with a sentence.
import { api } from "../../../scripts/api.js";
import { say } from "./memory_texts.js";

const ROOT = "/diversity/memory";

export const thumbnailAddress = (bank, id) =>
  api.apiURL(`${ROOT}/thumbnail?${new URLSearchParams({ bank, id })}`);

export async function ask(path, values, body) {
  const query = values ? `?${new URLSearchParams(values)}` : "";
  const post = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let answer;
  try {
    answer = await api.fetchApi(`${ROOT}/${path}${query}`, body ? post : undefined);
  } catch {
    throw new Error(say("ComfyUI does not answer. Is it still running?"));
  }
  const told = await answer.json().catch(() => null);
  if (!answer.ok || !told) throw new Error(told?.error ?? say("ComfyUI answered with error {status}.", { status: answer.status }));
  return told;
}
