# Ends a server and removes its directory, $1, after a test process that could not do so.
#
# The test process holds the other end of standard input, and ends with it. Each line names the processes of the
# server, first the one that ends the others; an empty line says that no server runs.
trap '' HUP INT QUIT TERM
processes=
while read -r line; do processes=$line; done
if [ -n "$processes" ]; then
    server=${processes%% *}
    kill -QUIT "$server"
    # A paused process takes no other signal.
    kill -CONT $processes
    tries=100
    while kill -0 "$server" && [ $tries -gt 0 ]; do
        sleep 0.1
        tries=$((tries - 1))
    done
    if [ $tries -eq 0 ]; then kill -KILL $processes; fi
fi 2>/dev/null
# Something that still runs may write while this removes. A server without a directory ends itself.
for _ in 1 2 3 4 5; do
    rm -rf -- "$1" && break
    sleep 1
done
