// Publishes a notification, and shows what an error of Postrider's says.
//
//   node quickstart.js [ADDRESS]
//
// The address is of a server without TLS, by default 127.0.0.1:7411. Nothing is generated: the
// protos are read when the program starts. `npm ci` brings the packages.
'use strict';

const { randomUUID } = require('node:crypto');
const path = require('node:path');
const { promisify } = require('node:util');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');
const protobuf = require('protobufjs');

const postrider = process.env.POSTRIDER_SOURCE || path.join(__dirname, '../..');
const thirdParty = path.join(postrider, 'third_party/proto');

const { NotificationService } = grpc.loadPackageDefinition(
  protoLoader.loadSync('postrider/v1/notification_service.proto', {
    includeDirs: [path.join(postrider, 'proto'), thirdParty],
    keepCase: true,
    longs: String, // An int64 does not fit into a number.
    enums: String,
  }),
).postrider.v1;

const rpc = protobuf.loadSync(['status', 'error_details']
  .map((name) => path.join(thirdParty, `google/rpc/${name}.proto`)));

// What grpc-js leaves packed in the metadata of an error: [{type, ...fields}].
function detailsOf(error) {
  const [packed] = error.metadata?.get('grpc-status-details-bin') ?? [];
  if (!packed) return []; // The error is not the server's, as when none was reached.
  const status = rpc.lookupType('google.rpc.Status').decode(packed);
  return status.details.flatMap(({ type_url, value }) => {
    const name = type_url.slice(type_url.lastIndexOf('/') + 1);
    // Those of other packages, such as postrider.v1.ValidationResult, are to be loaded too.
    if (!name.startsWith('google.rpc.')) return [];
    const type = rpc.lookupType(name);
    const fields = type.toObject(type.decode(value), { longs: Number, defaults: true });
    return [{ type: name, ...fields }];
  });
}

function printError(error) {
  console.log(`${grpc.status[error.code]}: ${error.details}`);
  for (const detail of detailsOf(error)) {
    switch (detail.type) {
      case 'google.rpc.BadRequest':
        for (const { field, description } of detail.fieldViolations) {
          console.log(`  field ${field}: ${description}`);
        }
        break;
      case 'google.rpc.ErrorInfo':
        console.log(`  reason ${detail.reason} of ${detail.domain}`, detail.metadata);
        break;
      case 'google.rpc.RetryInfo':
        console.log(`  try again after ${detail.retryDelay.seconds} s`);
        break;
    }
  }
}

async function main() {
  const address = process.argv[2] || '127.0.0.1:7411';
  const client = new NotificationService(address, grpc.credentials.createInsecure());
  const call = (method, request) =>
    promisify(client[method].bind(client, request, new grpc.Metadata()))({
      deadline: Date.now() + 10_000,
    });

  // The same key again, after an answer that was lost, publishes nothing twice.
  const request = {
    idempotency_key: randomUUID(),
    notification: {
      notification_type: 'BUILD_FINISHED',
      json_payload: '{"build": 1093, "passed": true}',
    },
  };
  const published = await call('PublishNotification', request);
  console.log(`published ${published.notification_id}`);

  request.notification.notification_type = 'no blanks, please';
  await call('PublishNotification', request).catch(printError);
  await call('GetNotification', { notification_id: 'ntf_unknown' }).catch(printError);
  client.close();
}

main().catch((error) => {
  printError(error);
  process.exitCode = 1;
});
