// File: fair_order.h
//
// Who makes up a step when several clients want more than it holds. Each client has a flow, or two if it asks at both
// priorities; within a flow the turns (turn.h) decide alone. Between flows:
//
//   1. A flow gets one image before another gets its second, so that on N rows N clients run at once.
//   2. Where flows are more than rows, the earliest turns go first. But the turn of an image that waits counts from the
//      last step that another of its flow was in, and so does that of one that is taken up again, so that a long
//      queue's age does not count against newcomers.
//   3. A flow that is an image's work ahead of its fair share takes only what the others leave; one that is several
//      images' work behind it goes first of all. Fair is what start-time fair queueing calls so (Goyal, Vin and Cheng,
//      1996): virtual time goes on by a step's rows over the weights of all flows that have work, a flow's own time by
//      its rows over its weight. Rows that would have stayed free are held against nobody.
//   4. Batch work weighs a sixteenth, and goes after interactive work that is within its share. Rule 3 keeps it from
//      starving.
//
// Rule 3 bounds how long anybody is put off. Count for a flow, in each step that leaves some of its images out, its
// weight's share of the step's rows, but one row at most. Over any time in which it has work it has had all that is
// counted, but for what it may lack: kMostAhead + kMostBehind = 5 images' work, the largest that it sends, until it is
// owed; two rows for each of the F flows here, that may be owed before it; and as much again where debts of several
// meet. So with weights W of all flows, one of weight w that has n row-steps to be drawn, of images of s row-steps, is
// done once all together have had (n + 10 s + 4 F) W / w row-steps, and so many steps have been made. What others send
// does not enter into that; how many they are does. Where a call of the engine makes k steps, 4 F is 4 F k. Without a
// slot for each image that is admitted, the wait for one comes on top. starvation_test.cc tries it on hostile crowds.
//
// So requests of one client, or of many clients with one image each, are drawn by their turns; of clients that send
// more than the machine draws, each gets as many rows a second as the others.
//
//   FairOrder order;
//   FairOrder::Flow* flow = order.Enter("ann", Priority::kInteractive, {.images = 2, .row_steps = 2000});
//   order.AddWaiting(flow, {.turn = turn, .images = 2, .rows = 1, .patience = 8, .row_steps = 1000});
//   for (const FairOrder::Pick& pick : order.Deal(/*rows=*/4, /*free_slots=*/8, now, refresh)) ...   // Begin both
//   order.Charge(flow, 1);                  // for each image that was in the step
//   const bool others = order.EndStep();    // whether somebody else's turn may have come
//
// With F flows each operation costs a few searches among F, and dealing as many for each row. Not thread-safe.
#ifndef DENOISED_SERVER_SCHEDULER_FAIR_ORDER_H_
#define DENOISED_SERVER_SCHEDULER_FAIR_ORDER_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "server/scheduler/turn.h"
#include "server/scheduler/turn_queue.h"

namespace denoised {

enum class Priority { kInteractive, kBatch };

class FairOrder {
 public:
  // A client's images of one priority.
  class Flow;

  // In images' work: how far a flow may be ahead of its share, and how far it may fall behind.
  static constexpr int kMostAhead = 1;
  static constexpr int kMostBehind = 4;

  static constexpr int kWaiting = -1;
  static constexpr double kLongAgo = -1e300;  // seconds

  // A round of images that wait, or one that has begun.
  struct Entry {
    Turn turn;              // of all entries of all flows no two have the same
    int64_t images = 1;     // of the round
    int rows = 1;           // network rows of each
    double patience = 0;    // seconds from the moment from which its turn counts to its turn
    int64_t row_steps = 0;  // of a whole image: the measure of being ahead or behind
    int slot = kWaiting;    // of one that has begun
    // Kept here.
    double counts_from = kLongAgo;    // of one that has begun: seconds from which its turn counts at the earliest
    double in_step_until = kLongAgo;  // seconds
    bool in_step = false;             // dealt
  };

  // One image for the step: of the round with this turn, or that in this slot.
  struct Pick {
    Flow* flow = nullptr;
    Turn turn;
    int slot = kWaiting;
  };

  FairOrder();
  ~FairOrder();
  FairOrder(const FairOrder&) = delete;
  FairOrder& operator=(const FairOrder&) = delete;

  // Images that have been admitted, and all that they take. The flow is valid until its last image has left.
  Flow* Enter(const std::string& client, Priority priority, const Work& work);
  // Images that are finished or dropped, whose entries are gone already.
  void Leave(Flow* flow, const Work& work);

  void AddWaiting(Flow* flow, const Entry& round);
  // Images of a round that will never begin.
  void TakeWaiting(Flow* flow, const Turn& turn, int64_t images);
  // An image of the round with this turn, which has just been dealt, begins.
  void Begin(Flow* flow, const Turn& round, Entry image);
  // The image in this slot is finished or dropped.
  void TakeBegun(Flow* flow, int slot);

  // The images of the next step, first come first: as many as `rows` network rows hold, of those that wait at most
  // free_slots, each of which has to Begin. An image of two rows waits for both, and nobody overtakes it. `refresh`
  // sets turn and patience of images that were in the step until now; `now` is in seconds by the turns' clock.
  std::vector<Pick> Deal(int rows, int free_slots, double now, absl::FunctionRef<void(Entry&)> refresh);

  // An image of the flow was in a step, with so many rows.
  void Charge(Flow* flow, int rows);
  // After the step's charges. True if the next Deal may choose others.
  bool EndStep();

  // Row-steps that all flows together will have had when a client has had so many more, if nothing new comes. None for
  // a client that is alone here, since fairness changes nothing then.
  std::optional<int64_t> RowStepsUntil(const std::string& client, Priority priority, int64_t row_steps) const;

  // That have images to be drawn.
  int64_t num_flows() const { return num_flows_; }

 private:
  // From those that go first to those that go last.
  enum Rank { kOwed, kWithinShare, kBatchWithinShare, kAhead, kNumRanks };
  // A flow's place among those of its rank.
  struct Place {
    double key = 0;  // virtual time for those that are owed, else seconds
    Turn turn;
    Flow* flow = nullptr;

    friend bool operator<(const Place& a, const Place& b) { return a.key != b.key ? a.key < b.key : a.turn < b.turn; }
  };
  using Places = absl::btree_set<Place>;
  class Dealing;

  static Place PlaceOf(Flow& flow, Rank rank, const Entry& entry);
  static double AheadUntil(const Flow& flow);
  static double OwedFrom(const Flow& flow);
  Rank RankOf(const Flow& flow) const;
  void Rate(Flow& flow);
  void List(Flow& flow);
  void Unlist(Flow& flow);
  std::vector<Flow*> TakePlaying(absl::FunctionRef<void(Entry&)> refresh);
  void CountBacklog(Flow& flow, const Work& work, int sign);
  void GoOn(double virtual_time);

  absl::flat_hash_map<std::pair<std::string, Priority>, std::unique_ptr<Flow>> flows_;
  std::vector<Flow*> playing_;                  // with images in the step; the others that have any are listed:
  std::array<Places, kNumRanks> firsts_;        // by their earliest entries
  std::array<Places, kNumRanks> begun_firsts_;  // by their earliest entries that have begun
  absl::btree_set<std::pair<double, Flow*>> promotions_;  // by the virtual time at which their ranks rise
  absl::btree_set<std::pair<double, Flow*>> idle_;        // flows without images that were ahead, by their own time
  TurnQueue<Flow*> backlogs_;                             // by backlog over weight; its images are weights
  double virtual_time_ = 0;                               // row-steps for a unit of weight
  int64_t weights_ = 0;                                   // of flows that have images
  int64_t num_flows_ = 0;
  int64_t charged_rows_ = 0;
  double dealt_ = 0;  // seconds, when images were last dealt
};

}  // namespace denoised

#endif  // DENOISED_SERVER_SCHEDULER_FAIR_ORDER_H_
