package verify

import (
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-eventlog/register"
	"github.com/google/go-eventlog/tcg"
	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
)

// quoteOf has the PCRs that log replays to.
func quoteOf(log []byte) *Quote {
	q := &Quote{}
	parsed, err := tcg.ParseEventLog(log, tcg.ParseOpts{})
	if err != nil {
		return q
	}
	for _, e := range parsed.Events(register.HashSHA256) {
		if e.Index < 0 || e.Index >= len(q.PCRs) || e.Type == tcg.NoAction {
			continue
		}
		q.PCRs[e.Index] = sha256.Sum256(append(q.PCRs[e.Index][:], e.Digest...))
	}
	return q
}
