#include "client/draw_grid.h"

#include <gtest/gtest.h>

namespace denoised {
namespace {

TEST(GridColumnsTest, TenClassesAreTwoRowsOfFive) { EXPECT_EQ(GridColumns(10), 5); }

TEST(GridColumnsTest, FewPlacesStayEmpty) {
  EXPECT_EQ(GridColumns(1), 1);
  EXPECT_EQ(GridColumns(2), 2);
  EXPECT_EQ(GridColumns(3), 3);
  EXPECT_EQ(GridColumns(26), 9);
  EXPECT_EQ(GridColumns(47), 8);
  EXPECT_EQ(GridColumns(100), 10);
  EXPECT_EQ(GridColumns(256), 16);
}

TEST(GridColumnsTest, AGridIsNoHigherThanWideAndNoStrip) {
  for (int classes = 1; classes <= 256; ++classes) {
    const int columns = GridColumns(classes), rows = (classes + columns - 1) / columns;
    EXPECT_GE(columns, rows) << classes;
    EXPECT_LE(columns, 3 * rows) << classes;
    EXPECT_LT(columns * rows - classes, columns) << classes;
  }
}

}  // namespace
}  // namespace denoised
