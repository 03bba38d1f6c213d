//go:build tools

// Package tools pins what examples/shell and the comparison of load generators run: go.mod has the versions, which Go
// 1.19 (Debian 12) can still build, and go.sum the sums.
package tools

import (
	_ "github.com/bojand/ghz/cmd/ghz"
	_ "github.com/fullstorydev/grpcurl/cmd/grpcurl"
)
