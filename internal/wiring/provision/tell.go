package provision

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/fetch"
	"holdfast/internal/ignition/report"
)

// keeper tells how stages end.
func (c Command) keeper(f flags, fetcher *fetch.Fetcher, log *slog.Logger) report.Keeper {
	k := report.Keeper{File: f.reportFile, Root: f.root, Keep: f.reportKeep, Console: f.console, Engine: Version, Platform: f.platform,
		Machine: firstLine("/sys/class/dmi/id/product_uuid"), Boot: bootID(), Now: c.now(), Log: log}
	if f.reportURL != "" {
		k.Post = func(ctx context.Context, settings types.Ignition, body []byte) error {
			return fetcher.Post(ctx, settings, f.reportURL, body)
		}
	}
	return k
}

// openConsole is nil where there is none to be seen.
func openConsole() io.Writer {
	f, err := os.OpenFile("/dev/console", os.O_WRONLY|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	return f
}

// journalSocket takes records of the form that systemd.io/JOURNAL_NATIVE_PROTOCOL
// says.
const journalSocket = "/run/systemd/journal/socket"

// fetchedID is upstream's for a config that was fetched; who reads the journal
// knows it.
const fetchedID = "57124006b5c94805b77ce473e92a8aeb"

// journal records where configs came from, as upstream does, when there is one.
func journal(configs []ignition.FetchedConfig) error {
	if _, err := os.Stat(journalSocket); err != nil || len(configs) == 0 {
		return nil
	}
	conn, err := net.Dial("unixgram", journalSocket)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, c := range configs {
		if _, err := conn.Write(record(c)); err != nil {
			return err
		}
	}
	return nil
}

func record(c ignition.FetchedConfig) []byte {
	referenced := ""
	if c.Referenced {
		referenced = "referenced "
	}
	var b strings.Builder
	for _, f := range [][2]string{
		{"MESSAGE", "fetched " + referenced + c.Kind + " config from " + strconv.Quote(c.Source)}, {"PRIORITY", "6"}, {"SYSLOG_IDENTIFIER", "ignition"},
		{"MESSAGE_ID", fetchedID}, {"IGNITION_CONFIG_TYPE", c.Kind}, {"IGNITION_CONFIG_SRC", c.Source}, {"IGNITION_CONFIG_REFERENCED", strconv.FormatBool(c.Referenced)},
	} {
		b.WriteString(f[0] + "\n" + string(binary.LittleEndian.AppendUint64(nil, uint64(len(f[1])))) + f[1] + "\n")
	}
	return []byte(b.String())
}
