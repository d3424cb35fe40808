// Asks MODELS/tiny for a text: node huggingface_inference.mjs PACKAGE MODELS TEXT
import { pathToFileURL } from "node:url";

const [folder, models, inputs] = process.argv.slice(2);
const { textClassification, zeroShotClassification } = await import(pathToFileURL(`${folder}/dist/esm/index.js`));

const endpointUrl = `${models}tiny`;
const zero = { candidate_labels: ["sport", "politics"] };
const answer = {
  text: await textClassification({ endpointUrl, inputs }),
  best: await textClassification({ endpointUrl, inputs, parameters: { top_k: 1 } }),
  zero: await zeroShotClassification({ endpointUrl, inputs, parameters: zero }),
  refused: await textClassification({ endpointUrl: `${models}none`, inputs }).then(
    () => "it was answered",
    (error) => `${error.message} ${JSON.stringify(error.httpResponse?.body ?? null)}`,
  ),
};
console.log(JSON.stringify(answer));
