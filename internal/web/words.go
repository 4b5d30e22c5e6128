package web

import (
	"fmt"
	"strings"
	"time"
)

// humanBytes is n in units of 1000, as disks and networks are sold.
func humanBytes(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), ""
	for _, unit = range []string{"kB", "MB", "GB", "TB", "PB", "EB"} {
		if v /= 1000; v < 999.5 {
			break
		}
	}
	if v < 9.95 {
		return fmt.Sprintf("%.1f %s", v, unit)
	}
	return fmt.Sprintf("%.0f %s", v, unit)
}

// humanSince is how long ago t was, in its two greatest units.
func humanSince(t time.Time) string {
	d := time.Since(t).Round(time.Second)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}

// humanTime is t to the second, in UTC: logs have it so.
func humanTime(t any) string {
	switch t := t.(type) {
	case time.Time:
		return t.UTC().Format("2006-01-02 15:04:05 UTC")
	case *time.Time:
		return humanTime(*t)
	}
	return ""
}

// shortDigest is enough of a digest to tell two apart by eye.
func shortDigest(digest string) string {
	algorithm, hex, ok := strings.Cut(digest, ":")
	if !ok {
		return digest
	}
	return algorithm + ":" + hex[:min(12, len(hex))]
}

// kinds are the words for types of artifacts and manifests.
var kinds = map[string]string{
	"application/vnd.oci.image.manifest.v1+json":                "image",
	"application/vnd.oci.image.index.v1+json":                   "index",
	"application/vnd.docker.distribution.manifest.v2+json":      "image",
	"application/vnd.docker.distribution.manifest.list.v2+json": "index",
	"application/vnd.dev.sigstore.bundle.v0.3+json":             "signature",
	"application/vnd.dev.cosign.artifact.sig.v1+json":           "signature",
	"application/spdx+json":                                     "SBOM",
	"application/vnd.in-toto+json":                              "statement",
	"application/vnd.in-toto.provenance+dsse":                   "provenance",
}

// kindOf says what a manifest is, in a word where there is one.
func kindOf(mediaType, artifactType string) string {
	for _, t := range []string{artifactType, mediaType} {
		if word, ok := kinds[t]; ok && t != "" {
			return word
		}
		if t != "" {
			return t
		}
	}
	return "manifest"
}

// layerWords say what a layer's media type tells.
func layerWords(mediaType string) string {
	var words []string
	switch {
	case strings.Contains(mediaType, "+zstd"):
		words = append(words, "zstd")
	case strings.Contains(mediaType, "gzip"):
		words = append(words, "gzip")
	}
	if strings.HasSuffix(mediaType, "+encrypted") {
		words = append(words, "encrypted")
	}
	if len(words) == 0 {
		return mediaType
	}
	return strings.Join(words, ", ")
}
