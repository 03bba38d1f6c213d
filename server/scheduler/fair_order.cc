#include "server/scheduler/fair_order.h"

#include <algorithm>
#include <functional>
#include <queue>

#include "absl/container/btree_map.h"

namespace denoised {
namespace {

constexpr int64_t kInteractiveWeight = 16;
constexpr int64_t kBatchWeight = 1;

int64_t WeightOf(Priority priority) { return priority == Priority::kInteractive ? kInteractiveWeight : kBatchWeight; }

}  // namespace

class FairOrder::Flow {
 public:
  Flow(std::string name, Priority its_priority)
      : client(std::move(name)), priority(its_priority), weight(WeightOf(its_priority)) {}

  bool empty() const { return waiting.empty() && begun.empty(); }

  // By the turns alone.
  const Entry& earliest() const {
    if (begun.empty()) return waiting.begin()->second;
    if (waiting.empty() || begun.front().turn < waiting.begin()->first) return begun.front();
    return waiting.begin()->second;
  }

  // Of its largest image, on the scale of virtual time.
  double ImageWork() const { return static_cast<double>(largest) / static_cast<double>(weight); }

  // After a step that it was in, by which virtual time has gone on. What it could not have had, for want of images, it
  // is not owed, nor is whoever is owed already more than an image in each step.
  void EndStep(double gone_on) {
    const double had = std::exchange(had_in_step, 0);
    const bool all_in_step =
        waiting.empty() && std::all_of(begun.begin(), begun.end(), [](const Entry& entry) { return entry.in_step; });
    if (all_in_step || rank == kOwed) own_time += std::max(0.0, gone_on - had);
  }

  const std::string client;
  const Priority priority;
  const int64_t weight;

  absl::btree_map<Turn, Entry> waiting;  // rounds
  std::vector<Entry> begun;              // by turn
  int64_t largest = 0;                   // image since it last had none: row-steps
  Work backlog;                          // of its images that are not finished
  double own_time = 0;                   // row-steps it has had, for a unit of weight
  double had_in_step = 0;                // of that, since the last step ended
  double last_played = kLongAgo;         // when it was last in a step, seconds by the turns' clock
  Rank rank = kWithinShare;              // when it was last rated,
  Place first;                           // and its place then
  bool playing = false;
  bool opened = false;  // in the dealing under way

  // While it is listed, which it is unless it is empty or playing.
  bool listed = false;
  std::optional<Place> begun_first;
  std::optional<double> promotion;
};

FairOrder::FairOrder() = default;
FairOrder::~FairOrder() = default;

FairOrder::Flow* FairOrder::Enter(const std::string& client, Priority priority, const Work& work) {
  std::unique_ptr<Flow>& flow = flows_[std::pair(client, priority)];
  if (flow == nullptr) flow = std::make_unique<Flow>(client, priority);
  if (flow->backlog.images == 0) {
    idle_.erase({flow->own_time, flow.get()});
    flow->own_time = std::max(flow->own_time, virtual_time_);
    flow->largest = 0;
    weights_ += flow->weight;
    ++num_flows_;
  }
  Unlist(*flow);
  CountBacklog(*flow, work, 1);
  List(*flow);
  return flow.get();
}

void FairOrder::Leave(Flow* flow, const Work& work) {
  Unlist(*flow);
  CountBacklog(*flow, work, -1);
  if (flow->backlog.images > 0) return List(*flow);
  if (std::exchange(flow->playing, false)) std::erase(playing_, flow);
  weights_ -= flow->weight;
  --num_flows_;
  idle_.emplace(flow->own_time, flow);
  // With nobody here, nobody is ahead of anybody.
  GoOn(num_flows_ == 0 ? idle_.rbegin()->first : virtual_time_);
}

void FairOrder::CountBacklog(Flow& flow, const Work& work, int sign) {
  const auto place = [&flow] {
    return Turn{.seconds = static_cast<double>(flow.backlog.row_steps) / static_cast<double>(flow.weight),
                .request = reinterpret_cast<intptr_t>(&flow)};
  };
  const auto sum = [&flow] { return Work{.images = flow.weight, .row_steps = flow.backlog.row_steps}; };
  if (flow.backlog.images > 0) backlogs_.Take(place(), sum());
  flow.backlog.images += sign * work.images;
  flow.backlog.row_steps += sign * work.row_steps;
  if (flow.backlog.images > 0) backlogs_.Add(place(), &flow, sum());
}

void FairOrder::AddWaiting(Flow* flow, const Entry& round) {
  Unlist(*flow);
  flow->largest = std::max(flow->largest, round.row_steps);
  flow->waiting.emplace(round.turn, round);
  List(*flow);
}

void FairOrder::TakeWaiting(Flow* flow, const Turn& turn, int64_t images) {
  Unlist(*flow);
  const auto round = flow->waiting.find(turn);
  if ((round->second.images -= images) == 0) flow->waiting.erase(round);
  List(*flow);
}

void FairOrder::Begin(Flow* flow, const Turn& round, Entry image) {
  image.counts_from = std::exchange(flow->last_played, dealt_);
  TakeWaiting(flow, round, 1);
  image.in_step = true;
  const auto later = [&image](const Entry& entry) { return image.turn < entry.turn; };
  flow->begun.insert(std::find_if(flow->begun.begin(), flow->begun.end(), later), image);
}

void FairOrder::TakeBegun(Flow* flow, int slot) {
  Unlist(*flow);
  const auto in_slot = [slot](const Entry& entry) { return entry.slot == slot; };
  flow->begun.erase(std::find_if(flow->begun.begin(), flow->begun.end(), in_slot));
  List(*flow);
}

std::optional<int64_t> FairOrder::RowStepsUntil(const std::string& client, Priority priority, int64_t added) const {
  const auto known = flows_.find(std::pair(client, priority));
  const Flow* flow = known == flows_.end() || known->second->backlog.images == 0 ? nullptr : known->second.get();
  if (num_flows_ == (flow == nullptr ? 0 : 1)) return std::nullopt;
  const int64_t row_steps = added + (flow == nullptr ? 0 : flow->backlog.row_steps);
  // Until then every flow has had as much for its weight, or all that it wants.
  const double share = static_cast<double>(row_steps) / static_cast<double>(WeightOf(priority));
  const Work less = backlogs_.Before({.seconds = share});  // this flow's own among them
  const double more = share * static_cast<double>(weights_ - less.images);
  return added + less.row_steps + static_cast<int64_t>(more);
}

// ---- Between flows ----

// Among flows of the same rank. Of those that are owed, it goes by what they are owed, or else short images would
// always go before long ones.
FairOrder::Place FairOrder::PlaceOf(Flow& flow, Rank rank, const Entry& entry) {
  if (rank == kOwed) return {.key = OwedFrom(flow), .turn = entry.turn, .flow = &flow};
  const double from = entry.slot == kWaiting ? flow.last_played : entry.counts_from;
  return {.key = std::max(entry.turn.seconds, from + entry.patience), .turn = entry.turn, .flow = &flow};
}

// The virtual times from which on a flow is no longer ahead, and from which on it is owed.
double FairOrder::AheadUntil(const Flow& flow) { return flow.own_time - kMostAhead * flow.ImageWork(); }
double FairOrder::OwedFrom(const Flow& flow) { return flow.own_time + kMostBehind * flow.ImageWork(); }

FairOrder::Rank FairOrder::RankOf(const Flow& flow) const {
  if (virtual_time_ < AheadUntil(flow)) return kAhead;
  if (virtual_time_ >= OwedFrom(flow)) return kOwed;
  return flow.priority == Priority::kInteractive ? kWithinShare : kBatchWithinShare;
}

// Where a flow stands now.
void FairOrder::Rate(Flow& flow) {
  flow.rank = RankOf(flow);
  flow.first = PlaceOf(flow, flow.rank, flow.earliest());
}

// A flow that plays is rated whenever images are dealt.
void FairOrder::List(Flow& flow) {
  if (flow.playing || flow.empty()) return;
  Rate(flow);
  flow.listed = true;
  firsts_[flow.rank].insert(flow.first);
  if (!flow.begun.empty()) {
    flow.begun_first = PlaceOf(flow, flow.rank, flow.begun.front());
    begun_firsts_[flow.rank].insert(*flow.begun_first);
  }
  if (flow.rank == kOwed) return;
  flow.promotion = flow.rank == kAhead ? AheadUntil(flow) : OwedFrom(flow);
  promotions_.emplace(*flow.promotion, &flow);
}

void FairOrder::Unlist(Flow& flow) {
  if (!std::exchange(flow.listed, false)) return;
  firsts_[flow.rank].erase(flow.first);
  if (flow.begun_first.has_value()) begun_firsts_[flow.rank].erase(*flow.begun_first);
  if (flow.promotion.has_value()) promotions_.erase({*flow.promotion, &flow});
  flow.begun_first.reset();
  flow.promotion.reset();
}

void FairOrder::Charge(Flow* flow, int rows) {
  const double had = static_cast<double>(rows) / static_cast<double>(flow->weight);
  flow->own_time += had;
  flow->had_in_step += had;
  charged_rows_ += rows;
}

bool FairOrder::EndStep() {
  const double before = virtual_time_;
  double next = virtual_time_;
  if (weights_ > 0) next += static_cast<double>(std::exchange(charged_rows_, 0)) / static_cast<double>(weights_);
  GoOn(next);
  // Rows that nobody else wanted: those who took them start again from within their shares.
  double left_over = virtual_time_;
  bool first = true;
  for (const Flow* flow : playing_) {
    if (flow->empty() || flow->rank != kAhead) continue;
    const double within = flow->own_time - kMostAhead / 2.0 * flow->ImageWork();
    left_over = first ? within : std::min(left_over, within);
    first = false;
  }
  if (left_over > virtual_time_) GoOn(left_over);
  for (Flow* flow : playing_) flow->EndStep(virtual_time_ - before);
  // While some who are owed are left out, they take turns at each step.
  bool changed = !firsts_[kOwed].empty();
  for (const Flow* flow : playing_) changed = changed || (!flow->empty() && RankOf(*flow) != flow->rank);
  while (!promotions_.empty() && promotions_.begin()->first <= virtual_time_) {
    Flow& flow = *promotions_.begin()->second;
    Unlist(flow);
    List(flow);
    changed = true;
  }
  return changed;
}

// Virtual time goes on, and flows without images that are no longer ahead of it are forgotten.
void FairOrder::GoOn(double virtual_time) {
  virtual_time_ = virtual_time;
  while (!idle_.empty() && idle_.begin()->first <= virtual_time_) {
    const Flow& flow = *idle_.begin()->second;
    idle_.erase(idle_.begin());
    flows_.erase(std::pair(flow.client, flow.priority));
  }
}

// ---- Dealing ----

class FairOrder::Dealing {
 public:
  Dealing(int rows, int free_slots, double now) : rows_left_(rows), free_slots_(free_slots), now_(now) {
    hands_.reserve(static_cast<size_t>(rows) + 1);
    picks_.reserve(static_cast<size_t>(rows));
  }

  bool slots_free() const { return free_slots_ > 0; }
  bool full() const { return full_; }

  // A flow's first image; nothing for a flow that has had one.
  void Open(Flow* flow) {
    if (std::exchange(flow->opened, true)) return;
    hands_.push_back({.flow = flow, .waiting = flow->waiting.begin()});
    if (Peek(hands_.back()) != nullptr) Take(hands_.size() - 1);
  }

  // The further images of flows of this rank.
  void Continue(Rank rank) {
    while (!full_ && !next_.empty() && next_.top().rank == rank) {
      const Next next = next_.top();
      next_.pop();
      const Entry* entry = Peek(hands_[next.hand]);
      if (entry == nullptr) continue;
      if (next.place.turn < entry->turn) {
        Push(next.hand, *entry);  // since no slot is free any more
      } else {
        Take(next.hand);
      }
    }
  }

  std::vector<Pick> picks() && { return std::move(picks_); }

  // After the last image: the flows that have been dealt any.
  std::vector<Flow*> Playing() {
    std::vector<Flow*> flows;
    for (const Hand& hand : hands_) {
      hand.flow->opened = false;
      if (hand.images > 0) flows.push_back(hand.flow);
    }
    return flows;
  }

 private:
  // A flow that has been dealt images, and its next ones.
  struct Hand {
    Flow* flow = nullptr;
    absl::btree_map<Turn, Entry>::iterator waiting;
    int64_t of_round = 0;  // taken from that round
    size_t begun = 0;
    int images = 0;
  };
  struct Next {
    Rank rank;
    int images = 0;
    Place place;
    size_t hand = 0;

    friend bool operator>(const Next& a, const Next& b) {
      return std::tie(b.rank, b.images, b.place) < std::tie(a.rank, a.images, a.place);
    }
  };

  const Entry* Peek(const Hand& hand) const {
    const Entry* begun = hand.begun < hand.flow->begun.size() ? &hand.flow->begun[hand.begun] : nullptr;
    if (!slots_free() || hand.waiting == hand.flow->waiting.end()) return begun;
    return begun != nullptr && begun->turn < hand.waiting->first ? begun : &hand.waiting->second;
  }

  void Take(size_t index) {
    Hand& hand = hands_[index];
    const Entry& entry = *Peek(hand);
    if ((full_ = entry.rows > rows_left_)) return;
    rows_left_ -= entry.rows;
    picks_.push_back({.flow = hand.flow, .turn = entry.turn, .slot = entry.slot});
    if (entry.slot != kWaiting) {
      TakeUp(hand.flow->begun[hand.begun++]);
    } else {
      --free_slots_;
      if (++hand.of_round == entry.images) {
        ++hand.waiting;
        hand.of_round = 0;
      }
    }
    ++hand.images;
    if (const Entry* next = Peek(hand)) Push(index, *next);
  }

  void TakeUp(Entry& image) const {
    const bool paused = image.in_step_until < now_;
    if (paused && image.counts_from > kLongAgo) image.counts_from = now_;
    image.in_step = true;
  }

  void Push(size_t index, const Entry& entry) {
    const Hand& hand = hands_[index];
    // What is owed is made up for one image at a time.
    const Rank rank = hand.flow->rank != kOwed                        ? hand.flow->rank
                      : hand.flow->priority == Priority::kInteractive ? kWithinShare
                                                                      : kBatchWithinShare;
    next_.push({.rank = rank, .images = hand.images, .place = PlaceOf(*hand.flow, rank, entry), .hand = index});
  }

  int rows_left_;
  int free_slots_;
  const double now_;
  bool full_ = false;
  std::vector<Hand> hands_;
  std::priority_queue<Next, std::vector<Next>, std::greater<>> next_;
  std::vector<Pick> picks_;
};

// The flows that were in the step until now, by rank and place.
std::vector<FairOrder::Flow*> FairOrder::TakePlaying(absl::FunctionRef<void(Entry&)> refresh) {
  std::vector<Flow*> played = std::exchange(playing_, {});
  for (Flow* flow : played) {
    flow->playing = false;
    flow->last_played = dealt_;
    for (Entry& entry : flow->begun) {
      if (!std::exchange(entry.in_step, false)) continue;
      entry.in_step_until = dealt_;
      refresh(entry);
    }
    const auto by_turn = [](const Entry& a, const Entry& b) { return a.turn < b.turn; };
    if (!std::is_sorted(flow->begun.begin(), flow->begun.end(), by_turn)) {
      std::sort(flow->begun.begin(), flow->begun.end(), by_turn);
    }
  }
  std::erase_if(played, [](const Flow* flow) { return flow->empty(); });
  for (Flow* flow : played) Rate(*flow);
  const auto by_place = [](const Flow* a, const Flow* b) {
    return a->rank != b->rank ? a->rank < b->rank : a->first < b->first;
  };
  if (!std::is_sorted(played.begin(), played.end(), by_place)) std::sort(played.begin(), played.end(), by_place);
  return played;
}

std::vector<FairOrder::Pick> FairOrder::Deal(int rows, int free_slots, double now,
                                             absl::FunctionRef<void(Entry&)> refresh) {
  dealt_ = now;
  const std::vector<Flow*> played = TakePlaying(refresh);
  auto next_played = played.begin();
  Dealing dealing(rows, free_slots, dealt_);
  for (int rank = kOwed; rank < kNumRanks && !dealing.full(); ++rank) {
    const Places* places = nullptr;
    Places::const_iterator listed;
    while (!dealing.full()) {
      const Places* open_to = dealing.slots_free() ? &firsts_[rank] : &begun_firsts_[rank];
      if (std::exchange(places, open_to) != open_to) listed = open_to->begin();
      const bool play_on = next_played != played.end() && (*next_played)->rank == rank;
      if (!play_on && listed == places->end()) break;
      const bool played_first = play_on && (listed == places->end() || (*next_played)->first < *listed);
      dealing.Open(played_first ? *next_played++ : (listed++)->flow);
    }
    dealing.Continue(static_cast<Rank>(rank));
  }
  playing_ = dealing.Playing();
  for (Flow* flow : playing_) {
    Unlist(*flow);
    flow->playing = true;
  }
  for (Flow* flow : played) List(*flow);
  return std::move(dealing).picks();
}

}  // namespace denoised
