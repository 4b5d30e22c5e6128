package platform

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/spec"
	"holdfast/internal/ignition/volume"
)

// azure asks for the machine's user data (Azure, "User Data for Azure Virtual
// Machine"); a machine without any may have custom data on the DVD with which
// it was provisioned. Statuses that pass are those of upstream and cloud-init.
func azure(ctx context.Context, c Config, ask ignition.Ask) (ignition.Provided, error) {
	text, err := ask(ctx, ignition.Request{URL: c.Metadata + "/metadata/instance/compute/userData?api-version=2021-01-01&format=text",
		Header: http.Header{"Metadata": {"true"}}, Retry: []int{http.StatusNotFound, http.StatusGone, http.StatusTooManyRequests}})
	if err != nil {
		return ignition.Provided{}, err
	}
	if len(bytes.TrimSpace(text)) == 0 {
		c.Log.Info("no user data: looking for the provisioning DVD")
		return customData(ctx, c)
	}
	raw, err := base64.StdEncoding.AppendDecode(nil, bytes.TrimSpace(text))
	if err != nil {
		return ignition.Provided{}, errors.New("the user data is not base64") // the error quotes it
	}
	return ignition.Provided{Raw: raw}, nil
}

// customData is in CustomData.bin beside ovf-env.xml, in a CD-ROM drive: a disk
// that somebody attached to the machine is none.
func customData(ctx context.Context, c Config) (ignition.Provided, error) {
	told := map[string]bool{}
	isDVD := func(v volume.Volume) bool {
		if !v.Disc || v.Type != "udf" && v.Type != "iso9660" {
			return false
		}
		f, err := v.Open("ovf-env.xml")
		if err != nil {
			if !told[v.Device] && !errors.Is(err, fs.ErrNotExist) {
				told[v.Device] = true
				c.Log.Info("a disc cannot be read", "device", v.Device, "because", err)
			}
			return false
		}
		return f.Close() == nil
	}
	found, err := c.await(ctx, isDVD)
	if err != nil {
		return ignition.Provided{}, fmt.Errorf("no user data, and no DVD with ovf-env.xml: %w", err)
	}
	raw, err := found[0].ReadFile("CustomData.bin", spec.MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return ignition.Provided{}, nil
	}
	return ignition.Provided{Raw: raw}, err
}
