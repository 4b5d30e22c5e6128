package cli

import "github.com/spf13/cobra"

func (a *app) blobVerbs() *cobra.Command {
	return group("blob", "Name, add, read, check and collect the registry's blobs, which are IPFS content too",
		a.blobCID(), a.blobAdd(), a.blobCat(), a.blobStat(), a.blobImport(), a.blobDrop(),
		a.blobVerify(), a.blobGC())
}
