// The client of http-cache-tests against one address: its verdicts as JSON, by the test's name. CACHE_TESTS: the package's folder.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const folder = process.env.CACHE_TESTS;
const from = (path) => import(pathToFileURL(`${folder}/${path}`));
const { runTests, getResults } = await from("client/runner.mjs");
const { default: suites } = await from("tests/index.mjs");
const { default: surrogate } = await from("tests/surrogate-control.mjs");
// The package's own command line uses this one too: Node's fetch leaves out what it takes for unsafe.
const fetch = createRequire(`${folder}/cli.mjs`)("node-fetch");

const [address, only] = process.argv.slice(2);
const chosen = [...suites, surrogate].map((suite) => ({
  ...suite,
  tests: suite.tests.filter((test) => !only || only.split(",").includes(test.id)),
}));
await runTests(chosen, fetch, false, address);
console.log(JSON.stringify(getResults()));
process.exit(0);
