// The same request as a shell command. The images go through a pipe because arguments are limited in length.

const quoted = text => `'${text.replaceAll("'", "'\\''")}'`;

export function curl(before, after, params) {
  const file = image => quoted(image.name.startsWith("-") ? `./${image.name}` : image.name);
  return [
    `{ printf '{"inputs": [{"before": "'; base64 < ${file(before)} | tr -d '\\n'`,
    `  printf '", "after": "'; base64 < ${file(after)} | tr -d '\\n'`,
    `  printf '%s' '"}], "params": ${JSON.stringify(params)}}'`,
    `} | curl -sS ${quoted(new URL("invocations", location.href).href)} -H 'Content-Type: application/json' --data-binary @-`,
  ].join("\n");
}
