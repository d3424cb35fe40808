// The request that was answered, as programs would send it.

const address = () => new URL("v1/classify", document.baseURI).href;
const keyed = () => sessionStorage.getItem("tasnif.key") !== null;

/** For a POSIX shell. */
export function curl(request) {
  const json = JSON.stringify(request, null, 2);
  const lines = [`curl -s ${quoted(address())}`, "-H 'Content-Type: application/json'"];
  if (keyed()) lines.push('-H "Authorization: Bearer $TASNIF_KEY"');
  lines.push(`-d ${quoted(json)}`);
  return lines.join(" \\\n  ");
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** For Python's standard library. */
export function python(request) {
  const headers = ['"Content-Type": "application/json"'];
  if (keyed()) headers.push('"Authorization": "Bearer " + os.environ["TASNIF_KEY"]');
  return `import json
${keyed() ? "import os\n" : ""}from urllib.request import Request, urlopen

article = ${literal(request)}
request = Request(
    ${JSON.stringify(address())},
    data=json.dumps(article).encode(),
    headers={${headers.join(", ")}},
)
with urlopen(request) as response:
    verdict = json.load(response)

for topic in verdict.get("topics", []):
    if topic["assigned"]:
        print(f"{topic['score']:.0%}  {topic['label']}")
for stance in verdict.get("stance", []):
    print(f"{stance['score']:.0%}  {stance['label']}: {stance['target'] or 'main subject'}")
`;
}

/** A value of JSON as Python writes it; JSON's strings are strings of Python too. */
function literal(value, indent = "") {
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null) return "None";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = `${indent}    `;
  if (Array.isArray(value)) {
    return `[\n${value.map((item) => `${inner}${literal(item, inner)},\n`).join("")}${indent}]`;
  }
  const fields = Object.entries(value).map(([name, item]) => `${inner}${JSON.stringify(name)}: ${literal(item, inner)},\n`);
  return `{\n${fields.join("")}${indent}}`;
}
