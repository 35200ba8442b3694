#pragma once

#include "postrider/v1/delivery_service.pb.h"
#include "postrider/v1/webhook_service.pb.h"
#include "src/delivery/hold.h"

namespace postrider {

v1::Hold ToProto(const Hold& hold);
v1::Health ToProto(const Health& health);

}  // namespace postrider
