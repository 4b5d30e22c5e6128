package provision

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/report"
	"holdfast/internal/ignition/report/lastwords"
)

// A Memory keeps a few words from one boot to the next, also of a boot in which
// no disk could be opened. No words: nothing is kept.
type Memory interface {
	Read(context.Context) ([]byte, error)
	Write(ctx context.Context, words []byte) error
}

// keptReport is where a machine that writes to its /var keeps its report.
const keptReport = "/var/lib/ignition/report.json"

// reportFile is that of this boot.
const reportFile = "/run/ignition/report.json"

// maxReason is how much of a reason is kept.
const maxReason = 400

// recall tells what the boot before came to, when that was a failure.
func (b *Boot) recall(ctx context.Context) *report.Previous {
	if b.Memory == nil {
		return nil
	}
	raw, err := b.Memory.Read(ctx)
	if err != nil {
		b.Log.Warn("what the boot before left is not read", "because", err)
		return nil
	}
	var before report.Previous
	if len(raw) == 0 || json.Unmarshal(raw, &before) != nil || before.Failure == nil {
		return nil
	}
	b.Stage("before", report.Plain(fmt.Sprintf("the boot before failed: stage %s: %s", before.Failure.Stage, before.Failure.Reason)), "")
	return &before
}

// remember leaves a failure for the next boot, and nothing of what went well.
func (b *Boot) remember(ctx context.Context, before *report.Previous, o ignition.Outcome) {
	if b.Memory == nil || o.Err == nil && before == nil {
		return
	}
	var words []byte
	if o.Err != nil {
		words = lastOf(o)
	}
	if err := b.Memory.Write(ctx, words); err != nil {
		b.Log.Warn("the failure is not kept for the next boot", "because", err)
		if err := b.Memory.Write(ctx, nil); err != nil { // of a boot before this one
			b.Log.Warn("what an earlier boot left stays", "because", err)
		}
	}
}

// lastOf is a failure in the room that a Memory has: JSON may be six times as
// long as its text.
func lastOf(o ignition.Outcome) []byte {
	failure := report.FailureOf(o)
	before := report.Previous{Status: report.Failed, Boot: bootID(), Ended: time.Now().UTC().Truncate(time.Second), Failure: failure}
	for room := maxReason; ; room /= 2 {
		failure.Reason, failure.Path = first(room, failure.Reason), first(room/4, failure.Path)
		if words, err := json.Marshal(before); err != nil || len(words) <= lastwords.Max || room == 0 {
			return words
		}
	}
}

// first are the first n bytes of what is UTF-8 of text, or fewer.
func first(n int, text string) string {
	text = strings.ToValidUTF8(text, "")
	return strings.ToValidUTF8(text[:min(len(text), n)], "")
}

// keeper tells how the stages of this boot end.
func (b *Boot) keeper(before *report.Previous) *report.Keeper {
	k := &report.Keeper{File: filepath.Join(b.Root, reportFile), Root: b.Root, Before: before, Engine: Version, Platform: "holdfast", Now: time.Now,
		Machine: firstLine("/sys/class/dmi/id/product_uuid"), Boot: bootID(), Log: b.Log}
	if b.Log == nil {
		k.Log = slog.New(slog.DiscardHandler)
	}
	if b.Post != nil {
		k.Post = func(ctx context.Context, _ types.Ignition, body []byte) error { return b.Post(ctx, body) }
	}
	return k
}

func bootID() string { return firstLine("/proc/sys/kernel/random/boot_id") }
