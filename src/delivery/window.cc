#include "src/delivery/window.h"

namespace postrider {

void Window::SetMax(int max) {
  // A window that is still growing goes on to the new bound.
  limit_ = limit_ == max_ && !probing_ ? max : std::min(limit_, max);
  max_ = max;
}

void Window::StartProbing() {
  probing_ = true;
  limit_ = 1;
}

void Window::OnSuccess() {
  // Doubled in a way that cannot overflow.
  limit_ = limit_ > max_ / 2 ? max_ : limit_ * 2;
  failures_in_row_ = 0;
  failed_probes_ = 0;
  probing_ = false;
}

bool Window::OnFailure(bool was_probe, bool for_long) {
  if (probing_) {
    if (!was_probe) return false;
    ++failed_probes_;
    return true;
  }
  const int enough = for_long ? std::min(kFewFailures, failures_to_probe_) : failures_to_probe_;
  if (++failures_in_row_ < enough) return false;
  StartProbing();
  failed_probes_ = 1;
  return true;
}

}  // namespace postrider
