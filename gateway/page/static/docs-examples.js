// A request as curl and as Python, so that it can be pasted and run as it stands.

const KEY = "LALAFO_GATEWAY_KEY";
const PHOTO = "chair.jpg";
const MASK = "mask.png";

/**
 * A request: {method, path, query, headers, json | parts | file, type, saved}. `json` is text;
 * `parts` are a form's, [name, text or {file}]; `file`: the body is a file, of this type; `saved`: the
 * file that takes the answer. `keys`: the gateway requires a key.
 */
export function curl(request, keys) {
  const lines = [`curl -sS ${method(request)}${shell(address(request))}`];
  if (keys) lines.push(`-H "Authorization: Bearer $${KEY}"`);
  for (const [name, value] of Object.entries(request.headers))
    lines.push(`-H ${shell(`${name}: ${value}`)}`);
  if (request.json !== undefined) {
    lines.push(`-H 'Content-Type: application/json'`, `-d ${shell(request.json)}`);
  }
  for (const [name, value] of request.parts ?? []) {
    lines.push(`-F ${shell(value.file ? `${name}=@${value.file}` : `${name}=${value}`)}`);
  }
  if (request.file)
    lines.push(`-H 'Content-Type: ${request.type}'`, `--data-binary @${request.file}`);
  if (request.saved) lines.push(`-o ${request.saved}`);
  return lines.join(" \\\n  ");
}

const method = ({ method: name, json, parts, file }) => {
  const implied = json !== undefined || parts || file ? "POST" : "GET";
  return name === implied ? "" : `-X ${name} `;
};

export function python(request, keys) {
  const imports = [keys && "import os", "import httpx"].filter(Boolean);
  const args = [text(address({ ...request, query: {} }))];
  const query = Object.entries(request.query);
  if (query.length) args.push(`params=${dict(query)}`);
  const headers = Object.entries(request.headers).map(([name, value]) => [name, text(value)]);
  if (keys) headers.unshift(["Authorization", `f"Bearer {os.environ['${KEY}']}"`]);
  const before = [];
  if (request.json !== undefined) args.push(`json=${literal(request.json)}`);
  if (request.parts) args.push(...form(request.parts));
  if (request.file) {
    headers.push(["Content-Type", text(request.type)]);
    args.push(`content=open(${text(request.file)}, "rb").read()`);
  }
  if (headers.length)
    args.push(`headers={${headers.map(([name, value]) => `${text(name)}: ${value}`).join(", ")}}`);
  const call = `httpx.${request.method.toLowerCase()}(\n    ${args.join(",\n    ")},\n)`;
  const after = request.saved
    ? `open(${text(request.saved)}, "wb").write(response.content)`
    : "print(response.json())";
  return [
    ...imports,
    "",
    ...before,
    `response = ${call}`,
    "response.raise_for_status()",
    after,
  ].join("\n");
}

function form(parts) {
  const data = parts.filter(([, value]) => !value.file);
  const files = parts.filter(([, value]) => value.file);
  const opened = files.map(([name, { file }]) => `(${text(name)}, open(${text(file)}, "rb"))`);
  return [
    data.length && `data=${dict(data)}`,
    files.length && `files=[${opened.join(", ")}]`,
  ].filter(Boolean);
}

/** The URL of a request, with its query. */
export function address({ path, query }) {
  const present = new URLSearchParams(query).toString();
  return `${location.origin}${path}${present ? `?${present}` : ""}`;
}

const shell = (value) => `'${value.replaceAll("'", `'\\''`)}'`;
const text = (value) => JSON.stringify(value); // every JSON string is one of Python's too
const dict = (pairs) =>
  `{${pairs.map(([name, value]) => `${text(name)}: ${text(value)}`).join(", ")}}`;

/** JSON as Python: true, false and null are named otherwise; text that is no JSON stays text. */
function literal(json) {
  try {
    return value(JSON.parse(json));
  } catch {
    return text(json);
  }
}

function value(of) {
  if (of === null) return "None";
  if (of === true) return "True";
  if (of === false) return "False";
  if (Array.isArray(of)) return `[${of.map(value).join(", ")}]`;
  if (typeof of === "object")
    return `{${Object.entries(of)
      .map(([name, inner]) => `${text(name)}: ${value(inner)}`)
      .join(", ")}}`;
  return text(of);
}

export { MASK, PHOTO };
