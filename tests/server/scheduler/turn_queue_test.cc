#include "server/scheduler/turn_queue.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace denoised {
namespace {

Turn At(int64_t seconds) { return {.seconds = static_cast<double>(seconds)}; }

TEST(TurnQueueTest, EmptyQueueHasNothing) {
  const TurnQueue<int> queue;
  EXPECT_EQ(queue.front(), nullptr);
  EXPECT_EQ(queue.total().images, 0);
  EXPECT_EQ(queue.Before(At(1)).images, 0);
  EXPECT_EQ(queue.RowStepsOfFirst(0), 0);
}

TEST(TurnQueueTest, EarliestTurnIsInFront) {
  TurnQueue<int> queue;
  queue.Add(At(3), 30, {.images = 1, .row_steps = 5});
  queue.Add(At(1), 10, {.images = 2, .row_steps = 8});
  ASSERT_NE(queue.front(), nullptr);
  EXPECT_EQ(queue.front()->item, 10);
  EXPECT_TRUE(queue.Take(At(1), {.images = 1, .row_steps = 4}));
  EXPECT_EQ(queue.front()->item, 10) << "it has another image";
  EXPECT_TRUE(queue.Take(At(1), {.images = 1, .row_steps = 4}));
  EXPECT_EQ(queue.front()->item, 30);
}

TEST(TurnQueueTest, TakingWhatIsNotThereDoesNothing) {
  TurnQueue<int> queue;
  queue.Add(At(3), 30, {.images = 1, .row_steps = 5});
  EXPECT_FALSE(queue.Take(At(2), {.images = 1, .row_steps = 5}));
  EXPECT_FALSE(queue.Take(At(4), {.images = 1, .row_steps = 5}));
  EXPECT_EQ(queue.total().row_steps, 5);
}

TEST(TurnQueueTest, PartOfAnEntryCountsInProportion) {
  TurnQueue<int> queue;
  queue.Add(At(1), 1, {.images = 1, .row_steps = 7});
  queue.Add(At(2), 2, {.images = 4, .row_steps = 40});
  EXPECT_EQ(queue.RowStepsOfFirst(1), 7);
  EXPECT_EQ(queue.RowStepsOfFirst(2), 17);
  EXPECT_EQ(queue.RowStepsOfFirst(5), 47);
}

// Against a map that is looked through from the start, over many blocks.
TEST(TurnQueueTest, SumsAreThoseOfAMap) {
  std::mt19937 random(1);
  const auto any = [&random](int below) { return static_cast<int64_t>(random() % static_cast<unsigned>(below)); };
  TurnQueue<int64_t> queue;
  std::map<int64_t, Work> map;
  for (int i = 0; i < 20000; ++i) {
    const int64_t turn = any(20000);
    const auto known = map.find(turn);
    if (known == map.end()) {
      const Work work = {.images = 1 + any(5), .row_steps = any(1000)};
      map.emplace(turn, work);
      queue.Add(At(turn), turn, work);
    } else {
      ASSERT_TRUE(queue.Take(At(turn), known->second));
      map.erase(known);
    }
    if (i % 8 == 0 && !map.empty()) {
      ASSERT_EQ(queue.front()->item, map.begin()->first);
      ASSERT_TRUE(queue.Take(At(map.begin()->first), map.begin()->second));
      map.erase(map.begin());
    }
    if (i % 100 != 0) continue;
    const int64_t limit = any(20000);
    Work before, total;
    for (const auto& [at, work] : map) {
      if (at < limit) before += work;
      total += work;
    }
    ASSERT_EQ(queue.Before(At(limit)).images, before.images);
    ASSERT_EQ(queue.Before(At(limit)).row_steps, before.row_steps);
    ASSERT_EQ(queue.RowStepsOfFirst(before.images), before.row_steps);
    ASSERT_EQ(queue.total().row_steps, total.row_steps);
  }
  int64_t last = -1;
  queue.ForEach([&last](const auto& entry) {
    EXPECT_LT(last, entry.item);
    last = entry.item;
  });
}

}  // namespace
}  // namespace denoised
