#include "src/cli/commands.h"

#include "src/cli/delivery_commands.h"
#include "src/cli/listen_command.h"
#include "src/cli/publish_command.h"
#include "src/cli/webhook_commands.h"
#include "src/cli/webhooks_command.h"

namespace postrider {

void AddClientCommands(CLI::App& root, int* exit_code) {
  AddListenCommand(root, exit_code);
  AddConfigureCommand(root, exit_code);
  AddValidateCommand(root, exit_code);
  AddWebhooksCommand(root, exit_code);
  AddPublishCommand(root, exit_code);
  AddDeliveriesCommand(root, exit_code);
}

}  // namespace postrider
