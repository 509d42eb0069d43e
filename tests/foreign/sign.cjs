// Signs and verifies with GitHub's own library, one JSON request per line of standard input:
// {"secret", "body"} -> {"signature"}; {"secret", "body", "signature"} -> {"accepted"}.
const readline = require("node:readline");

async function main() {
  const { Webhooks } = await import("@octokit/webhooks");
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { secret, body, signature } = JSON.parse(line);
    const hooks = new Webhooks({ secret });
    const answer =
      signature === undefined
        ? { signature: await hooks.sign(body) }
        : { accepted: await hooks.verify(body, signature) };
    console.log(JSON.stringify(answer));
  }
}

main();
