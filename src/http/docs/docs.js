// Draws openapi.json: routes, parameters, bodies, answers, and a form that sends a request.
"use strict";

/** An element with properties and children. */
function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

const written = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));
const block = (value) => element("pre", { dir: "auto" }, written(value));

/** A schema as a short name: a type, a list of one, or a choice. */
function named(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  const choices = schema.oneOf || schema.anyOf || schema.allOf;
  if (choices) return choices.map(named).join(" | ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.items) return `[${named(schema.items)}]`;
  return [schema.type || "any"].flat().join(" | ");
}

function fields(rows) {
  const body = rows.map(([name, type, required, text]) =>
    element("tr", {}, element("td", {}, element("code", {}, name)), element("td", {}, type + (required ? ", required" : "")), element("td", {}, text || "")));
  return element("table", {}, element("tbody", {}, ...body));
}

function described(content) {
  return Object.entries(content || {}).map(([type, { schema, examples = {}, example }]) => {
    const shown = Object.entries(examples).map(([name, { value }]) => element("details", {}, element("summary", {}, name), block(value)));
    if (example !== undefined) shown.push(block(example));
    return element("div", {}, element("code", {}, type), " ", named(schema), ...shown);
  });
}

function form(method, path, operation) {
  const inputs = (operation.parameters || []).filter((parameter) => parameter.in !== "header").map((parameter) => {
    const input = element("input", { name: parameter.name });
    return { parameter, input, label: element("label", {}, `${parameter.name} `, input) };
  });
  const examples = Object.entries(operation.requestBody?.content || {}).flatMap(([type, { examples = {} }]) =>
    Object.entries(examples).map(([name, { value }]) => ({ type, name, text: written(value) })));
  const choice = element("select", { ariaLabel: "Example" }, ...examples.map(({ name }) => element("option", {}, name)));
  const body = element("textarea", { ariaLabel: "Body", dir: "auto", value: examples[0]?.text || "" });
  choice.onchange = () => { body.value = examples[choice.selectedIndex].text; };
  const answer = element("div", { ariaLive: "polite" });
  const send = element("button", { type: "button" }, "Send");
  send.onclick = async () => {
    let url = path;
    const query = new URLSearchParams();
    for (const { parameter, input } of inputs) {
      if (parameter.in === "path") url = url.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
      else if (input.value) query.set(parameter.name, input.value);
    }
    if (query.size) url += `?${query}`;
    const headers = {};
    const key = document.getElementById("key").value;
    if (key) headers.Authorization = `Bearer ${key}`;
    if (examples.length) headers["Content-Type"] = examples[choice.selectedIndex].type;
    answer.replaceChildren("…");
    try {
      const response = await fetch(url, { method: method.toUpperCase(), headers, body: examples.length ? body.value : undefined });
      const text = await response.text();
      let shown = text;
      try { shown = JSON.parse(text); } catch { /* lines, or text */ }
      answer.replaceChildren(`${response.status} ${response.statusText}`, block(shown));
    } catch (error) {
      answer.replaceChildren(String(error));
    }
  };
  const parts = inputs.map(({ label }) => label);
  if (examples.length > 1) parts.push(choice);
  if (examples.length) parts.push(body);
  return element("details", {}, element("summary", {}, "Try it"), ...parts, send, answer);
}

function drawn(path, method, operation) {
  const parameters = (operation.parameters || []).map(({ name, in: place, required, description, schema }) =>
    [name, `${named(schema)}, ${place}`, required, description]);
  const responses = Object.entries(operation.responses).map(([status, { description, content }]) =>
    element("details", {}, element("summary", {}, element("strong", {}, status), ` ${description}`), ...described(content)));
  const section = element("section", { id: operation.operationId },
    element("h3", {}, element("span", { className: "method" }, method.toUpperCase()), element("code", {}, path)),
    element("p", {}, operation.summary || "", " ", operation.description || ""));
  if (parameters.length) section.append(element("h4", {}, "Parameters"), fields(parameters));
  if (operation.requestBody) section.append(element("h4", {}, "Body"), ...described(operation.requestBody.content));
  section.append(element("h4", {}, "Answers"), ...responses, form(method, path, operation));
  return section;
}

function type([name, schema]) {
  const required = schema.required || [];
  const rows = Object.entries(schema.properties || {}).map(([field, of]) => [field, named(of), required.includes(field), of.description]);
  return element("section", { id: `type-${name}` }, element("h3", {}, element("code", {}, name)), element("p", {}, schema.description || ""),
    rows.length ? fields(rows) : named(schema));
}

async function main() {
  const document_ = await (await fetch("/openapi.json")).json();
  document.getElementById("title").textContent = `${document_.info.title} ${document_.info.version}`;
  document.getElementById("about").textContent = document_.info.description;
  const operations = Object.entries(document_.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ path, method, operation })));
  const contents = [], parts = [];
  for (const { name, description } of document_.tags) {
    const own = operations.filter(({ operation }) => operation.tags.includes(name));
    contents.push(...own.map(({ path, method, operation }) =>
      element("li", {}, element("span", { className: "method" }, method.toUpperCase()), element("a", { href: `#${operation.operationId}` }, path))));
    parts.push(element("h2", {}, description), ...own.map(({ path, method, operation }) => drawn(path, method, operation)));
  }
  parts.push(element("h2", {}, "Types"), ...Object.entries(document_.components.schemas).map(type));
  document.getElementById("contents").replaceChildren(element("ul", {}, ...contents));
  document.getElementById("operations").replaceChildren(...parts);
  if (location.hash) document.querySelector(location.hash)?.scrollIntoView();
}

main().catch((error) => { document.getElementById("operations").textContent = `openapi.json could not be shown: ${error}`; });
